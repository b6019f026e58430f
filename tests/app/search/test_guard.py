"""The Host header, and which addresses only this machine reaches."""

import pytest

from app.search.guard import name_host
from app.search.serve import is_loopback


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8000", "localhost"),
        ("LocalHost", "localhost"),
        ("[::1]:8000", "[::1]"),
        ("[::1]", "[::1]"),
        ("localhost.evil.example:80", "localhost.evil.example"),
        ("", ""),
        (":80", ":80"),
    ],
)
def test_a_host_is_named_without_its_port(header: str, name: str) -> None:
    assert name_host(header) == name


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("localhost.evil.example", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback

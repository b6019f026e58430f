"""The Host header, what another site's page is known by, and which names a server answers to."""

import socket

import pytest
from starlette.datastructures import Headers

from app.commands.serve import is_loopback, listen, name_for_others, name_hosts, name_to_open
from app.serving.guard import LOOPBACK, is_foreign, name_host


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


OWN = {"host": "localhost:8000"}


@pytest.mark.parametrize(
    ("method", "path", "said", "foreign"),
    [
        ("POST", "/api/search", {}, False),
        ("POST", "/api/search", {"origin": "http://localhost:8000"}, False),
        ("POST", "/api/search", {"origin": "https://LOCALHOST:8000"}, False),
        ("POST", "/api/search", {"origin": "http://localhost:3000"}, True),
        ("POST", "/api/search", {"origin": "http://127.0.0.1:8000"}, True),
        ("POST", "/api/search", {"origin": "https://evil.example"}, True),
        ("POST", "/api/search", {"origin": "null"}, True),
        ("POST", "/api/search", {"sec-fetch-site": "cross-site"}, True),
        ("POST", "/api/search", {"sec-fetch-site": "same-origin"}, False),
        ("GET", "/api/random", {"sec-fetch-site": "cross-site"}, True),
        ("GET", "/api/random", {"sec-fetch-site": "none"}, False),
        ("GET", "/", {"sec-fetch-site": "cross-site"}, False),  # a link to the page
    ],
)
def test_the_page_of_another_site_is_known_by_what_its_browser_says(
    method: str, path: str, said: dict[str, str], foreign: bool
) -> None:
    assert is_foreign(method, path, Headers(OWN | said)) is foreign


def test_a_server_for_this_machine_answers_to_its_own_names() -> None:
    with listen("127.0.0.1", 0) as listening:
        assert name_hosts("127.0.0.1", listening) == LOOPBACK
        assert name_hosts("LocalHost", listening) == LOOPBACK
        assert name_to_open("localhost", listening) == "localhost"
        assert name_for_others(listening) == "127.0.0.1"


class Bound:
    """Stands for a socket at an address that the machine of a test need not have."""

    family = socket.AF_INET

    def getsockname(self) -> tuple[str, int]:
        return "192.168.1.5", 8000


def test_a_server_at_an_address_of_this_machine_answers_to_it_and_to_the_machines_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Desk.lan")
    hosts = name_hosts("192.168.1.5", Bound())  # type: ignore[arg-type]
    assert hosts == (*LOOPBACK, "192.168.1.5", "desk.lan", "desk", "desk.local")
    by_name = name_hosts("desk.home", Bound())  # type: ignore[arg-type]
    assert by_name == (*LOOPBACK, "desk.home", "192.168.1.5", "desk.lan", "desk", "desk.local")


def test_a_server_at_all_addresses_answers_to_any_name_and_is_opened_at_one() -> None:
    with listen("0.0.0.0", 0) as listening:
        assert name_hosts("0.0.0.0", listening) is None
        assert name_to_open("0.0.0.0", listening) == "127.0.0.1"
        assert name_for_others(listening) not in ("0.0.0.0", "")


def test_the_machines_name_stands_for_an_address_that_it_does_not_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listen("0.0.0.0", 0) as listening, monkeypatch.context() as alone:
        alone.setattr(socket, "socket", raise_unreachable)
        alone.setattr(socket, "gethostname", lambda: "desk")
        assert name_for_others(listening) == "desk"


def raise_unreachable(*_: object) -> None:
    raise OSError("network is unreachable")

"""Where the server listens, and which host names it answers to."""

import socket

import pytest

from app.serving.addresses import (
    ANY_HOST,
    LOOPBACK,
    find_allowed_hosts,
    find_local_host,
    find_network_host,
    is_loopback,
    listen,
)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - what it tests
        ("::", False),
        ("192.168.1.5", False),
        ("localhost.evil.example", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_small_responses_are_sent_at_once() -> None:
    """asyncio sets TCP_NODELAY only on sockets that name their protocol."""
    with listen("127.0.0.1", 0) as listening:
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP


def test_a_server_for_this_machine_answers_to_loopback_names() -> None:
    with listen("127.0.0.1", 0) as listening:
        assert find_allowed_hosts("127.0.0.1", listening) == LOOPBACK
        assert find_allowed_hosts("LocalHost", listening) == LOOPBACK
        assert find_local_host("localhost", listening) == "localhost"
        assert find_network_host(listening) == "127.0.0.1"


class FakeSocket:
    """A socket bound to an address that the test's machine need not have."""

    family = socket.AF_INET

    def getsockname(self) -> tuple[str, int]:
        return "192.168.1.5", 8000


def test_a_server_at_a_network_address_answers_to_it_and_to_the_names_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Desk.lan")
    hosts = find_allowed_hosts("192.168.1.5", FakeSocket())  # type: ignore[arg-type]
    assert hosts == (*LOOPBACK, "192.168.1.5", "desk.lan", "desk", "desk.local")
    hosts = find_allowed_hosts("desk.home", FakeSocket())  # type: ignore[arg-type]
    assert hosts == (*LOOPBACK, "desk.home", "192.168.1.5", "desk.lan", "desk", "desk.local")


def test_a_server_at_all_addresses_answers_to_any_name() -> None:
    with listen("0.0.0.0", 0) as listening:  # noqa: S104 - what it tests
        assert find_allowed_hosts("0.0.0.0", listening) == ANY_HOST  # noqa: S104 - what it tests
        assert find_local_host("0.0.0.0", listening) == "127.0.0.1"  # noqa: S104 - what it tests
        assert find_network_host(listening) not in ("0.0.0.0", "")  # noqa: S104 - what it tests


def test_without_a_network_address_the_name_of_the_machine_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listen("0.0.0.0", 0) as listening, monkeypatch.context() as offline:  # noqa: S104 - what it tests
        offline.setattr(socket, "socket", raise_unreachable)
        offline.setattr(socket, "gethostname", lambda: "desk")
        assert find_network_host(listening) == "desk"


def raise_unreachable(*_: object) -> None:
    raise OSError("network is unreachable")

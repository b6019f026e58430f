"""Addresses of the server: where it listens, and which host names it answers to."""

import errno
import os
import socket
from ipaddress import ip_address

from pipeline.errors import UserError

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
ANY_HOST = ("*",)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at `host`, `port`.

    port: 0 for any free port.

    Raises:
        UserError: the port is taken or forbidden, or the host is not this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio turns Nagle's algorithm off only where the protocol is given; with it, each small
        # response is delayed by 40 ms.
        listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError:
        raise _not_this_machine(host) from None
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        if isinstance(error, PermissionError):
            raise UserError(
                f"--port: found {port}, which needs more rights; allowed: 1024 to 65535"
            ) from None
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"--port: found {port}, which is taken; allowed: a free one; "
                "run: lookalike serve --port 0"
            ) from None
        raise _not_this_machine(host) from None
    return listening


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server at `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def find_allowed_hosts(host: str, listening: socket.socket) -> tuple[str, ...]:
    """Return the host names, each once, that a request may name; ANY_HOST for any.

    A server that listens at all addresses cannot know the names by which others reach it.
    """
    bound = listening.getsockname()[0]
    if ip_address(bound).is_unspecified:
        return ANY_HOST
    names = [*LOOPBACK, _bracket(host), _bracket(bound)]
    if not is_loopback(bound):
        machine = socket.gethostname()
        short = machine.partition(".")[0]
        names += [machine, short, f"{short}.local"]
    return tuple(dict.fromkeys(name.lower() for name in names))


def find_local_host(host: str, listening: socket.socket) -> str:
    """Return the host name by which a browser of this machine reaches the server."""
    if not ip_address(listening.getsockname()[0]).is_unspecified:
        return _bracket(host)
    # Linux and macOS accept 0.0.0.0 for this machine, Windows and some browsers do not.
    return "127.0.0.1" if listening.family == socket.AF_INET else "[::1]"


def find_network_host(listening: socket.socket) -> str:
    """Return the address by which other machines reach the server, else this machine's name."""
    bound = listening.getsockname()[0]
    if not ip_address(bound).is_unspecified:
        return _bracket(bound)
    # Addresses reserved for documentation. To connect a datagram socket sends nothing, but chooses
    # the network interface, and with it this machine's own address.
    outside = "192.0.2.1" if listening.family == socket.AF_INET else "2001:db8::1"
    try:
        with socket.socket(listening.family, socket.SOCK_DGRAM) as route:
            route.connect((outside, 9))
            return _bracket(route.getsockname()[0])
    except OSError:
        return socket.gethostname()


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _not_this_machine(host: str) -> UserError:
    return UserError(
        f"--host: found '{host}'; allowed: a name or address of this machine, such as 127.0.0.1, "
        "or 0.0.0.0 for all of its addresses"
    )

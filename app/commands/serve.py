"""`lookalike serve`: the search page, on this machine."""

import errno
import os
import socket
import sys
import webbrowser
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter

from pipeline.errors import UserError

# How long searches that run may go on after Ctrl-C.
LAST_SECONDS = 5


def serve(root: Path, *, host: str, port: int, models: Sequence[str], open_page: bool) -> None:
    """Serve the page of the project at `root` until Ctrl-C.

    port: 0 for any that is free. open_page: whether to show it in the person's browser.

    Raises:
        UserError: the address is taken or is none of this machine's, or an artifact is missing.
    """
    began = perf_counter()
    try:
        # First, since it takes no time: what loads then takes seconds.
        with listen(host, port) as listening:
            address = f"http://{name_to_open(host, listening)}:{listening.getsockname()[1]}"
            _tell(f"{', '.join(models)}: loading …")
            _run(root, listening, host=host, address=address, models=models, open_page=open_page)
    except KeyboardInterrupt:
        _tell(f"stopped after {perf_counter() - began:.0f} s")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at `host`, `port`.

    Raises:
        UserError: it is taken, forbidden, or none of this machine's.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sends small answers at once only where the protocol is named; else each waits for
        # 40 ms to be joined by more (Nagle's algorithm).
        listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError:
        raise _none_of_ours(host) from None
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)
    except OSError as error:
        listening.close()
        if isinstance(error, PermissionError):
            raise UserError(
                f"--port: found {port}, which needs rights you lack; allowed: 1024 to 65535"
            ) from None
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"--port: found {port}, which is taken; allowed: a free one; "
                "run: lookalike serve --port 0"
            ) from None
        raise _none_of_ours(host) from None
    return listening


def split_names(models: str) -> list[str]:
    """Return the names in "baseline,finetuned", each once.

    Raises:
        UserError: there are none.
    """
    names = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    if not names:
        raise UserError(
            f"--models: found '{models}'; allowed: names of models, such as baseline,finetuned"
        )
    return names


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def name_hosts(host: str, listening: socket.socket) -> tuple[str, ...] | None:
    """Return the names that a browser may ask for, each once; None for any.

    A server at all addresses of this machine cannot know under which names others reach it.
    """
    from app.serving.guard import LOOPBACK

    bound = listening.getsockname()[0]
    if ip_address(bound).is_unspecified:
        return None
    names = [*LOOPBACK, _as_name(host), _as_name(bound)]
    if not is_loopback(bound):
        own = socket.gethostname()
        short = own.partition(".")[0]
        names += [own, short, f"{short}.local"]
    return tuple(dict.fromkeys(name.lower() for name in names))


def name_to_open(host: str, listening: socket.socket) -> str:
    """Return the name at which a browser of this machine finds the server."""
    if not ip_address(listening.getsockname()[0]).is_unspecified:
        return _as_name(host)
    # Linux and macOS take 0.0.0.0 for this machine, Windows and some browsers do not.
    return "127.0.0.1" if listening.family == socket.AF_INET else "[::1]"


def name_for_others(listening: socket.socket) -> str:
    """Return the address at which other machines find the server, or this machine's name."""
    bound = listening.getsockname()[0]
    if not ip_address(bound).is_unspecified:
        return _as_name(bound)
    # Names a way to the world, over which nothing is sent; both are kept for documents.
    far = "192.0.2.1" if listening.family == socket.AF_INET else "2001:db8::1"
    try:
        with socket.socket(listening.family, socket.SOCK_DGRAM) as way:
            way.connect((far, 9))
            return _as_name(way.getsockname()[0])
    except OSError:
        return socket.gethostname()


def _run(
    root: Path,
    listening: socket.socket,
    *,
    host: str,
    address: str,
    models: Sequence[str],
    open_page: bool,
) -> None:
    began = perf_counter()
    # torch takes seconds, which no other command needs
    import uvicorn

    from app.searching.untrusted_images import expect_large_photos
    from app.serving.searcher import Searcher
    from app.serving.server import build_app

    expect_large_photos()
    searcher = Searcher(root, models)
    app = build_app(searcher, hosts=name_hosts(host, listening))
    found = f"{searcher.choices.images:,} images, {', '.join(models)}"
    _tell(f"{address}  ({found}; start-up {perf_counter() - began:.1f} s; Ctrl-C ends it)")
    if not is_loopback(host):
        place = f"{name_for_others(listening)}:{listening.getsockname()[1]}"
        _tell(f"--host {host}: whoever reaches http://{place} can search, and see all images")
    if open_page:
        webbrowser.open(address)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])


def has_browser() -> bool:
    """Whether a browser may be opened: a person looks on, and has windows."""
    windows = os.name == "nt" or sys.platform == "darwin"
    shown = windows or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return shown and sys.stderr.isatty()


def _as_name(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _none_of_ours(host: str) -> UserError:
    return UserError(
        f"--host: found '{host}'; allowed: a name or address of this machine, such as 127.0.0.1, "
        "or 0.0.0.0 for all of its addresses"
    )


def _tell(line: str) -> None:
    print(f"serve: {line}", file=sys.stderr, flush=True)

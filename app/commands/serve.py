"""`lookalike serve`: the search page, on this machine."""

import os
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from app.serving.addresses import (
    find_allowed_hosts,
    find_local_host,
    find_network_host,
    is_loopback,
    listen,
)
from pipeline.errors import UserError

# How long running searches may go on after Ctrl-C.
SHUTDOWN_SECONDS = 5


def serve(root: Path, *, host: str, port: int, models: Sequence[str], open_page: bool) -> None:
    """Serve the search page of the project at `root` until Ctrl-C.

    port: 0 for any free port. open_page: whether to open it in a browser.

    Raises:
        UserError: the address is taken or not of this machine, or a file of the project is missing.
    """
    started = perf_counter()
    try:
        # First, because it takes no time: what is loaded after it takes seconds.
        with listen(host, port) as listening:
            address = f"http://{find_local_host(host, listening)}:{listening.getsockname()[1]}"
            _tell(f"{', '.join(models)}: loading …")
            _run(root, listening, host=host, address=address, models=models, open_page=open_page)
    except KeyboardInterrupt:
        _tell(f"stopped after {perf_counter() - started:.0f} s")


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


def has_browser() -> bool:
    """Return whether to open a browser: someone watches the terminal, and there are windows."""
    windows = os.name == "nt" or sys.platform == "darwin"
    shown = windows or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return shown and sys.stderr.isatty()


def _run(
    root: Path,
    listening: socket.socket,
    *,
    host: str,
    address: str,
    models: Sequence[str],
    open_page: bool,
) -> None:
    started = perf_counter()
    # torch takes seconds to import, and no other command needs it.
    import uvicorn

    from app.searching.untrusted_images import ignore_pillow_size_warnings
    from app.serving.searcher import Searcher
    from app.serving.server import build_app

    ignore_pillow_size_warnings()
    searcher = Searcher(root, models)
    app = build_app(searcher, hosts=find_allowed_hosts(host, listening))
    served = f"{searcher.choices.images:,} images, {', '.join(models)}"
    _tell(f"{address}  ({served}; start-up {perf_counter() - started:.1f} s; Ctrl-C ends it)")
    if not is_loopback(host):
        network = f"{find_network_host(listening)}:{listening.getsockname()[1]}"
        _tell(
            f"--host {host}: everyone who can reach http://{network} can search and see all images"
        )
    if open_page:
        webbrowser.open(address)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _tell(line: str) -> None:
    print(f"serve: {line}", file=sys.stderr, flush=True)

"""`lookalike serve`: the search page, on this machine."""

import logging
import os
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from app.overrides_file import NAME as OVERRIDES
from app.searching.best_model import BEST, find_best, list_best_first
from app.serving.addresses import (
    find_allowed_hosts,
    find_local_host,
    find_network_host,
    is_loopback,
    listen,
)
from app.serving.token_guard import check_token, make_token
from pipeline.errors import UserError

logger = logging.getLogger(__name__)

# How long running searches may go on after Ctrl-C: less than until `ends_on_signals` gives up.
SHUTDOWN_SECONDS = 2


def serve_search_page(
    root: Path,
    *,
    host: str,
    port: int,
    models: str,
    open_page: bool | None,
    token: str | None = None,
) -> None:
    """Serve the search page of the project at `root` until Ctrl-C.

    port: 0 for any free port. models: names with commas between them, or best. open_page: whether
    to open the page in a browser; None where that is possible. token: that requests need; None:
    one is made where other machines can reach the server, and otherwise none is needed.

    Raises:
        UserError: no model is named, the token has other characters, the address is taken or not
            of this machine, or a file of the project is missing.
    """
    names = split_names(models)
    if token is not None:
        check_token(token)
    elif not is_loopback(host):
        token = make_token()
    # First, because it takes no time: what is loaded after it takes seconds.
    with listen(host, port) as listening:
        address = f"http://{find_local_host(host, listening)}:{listening.getsockname()[1]}"
        if names == [BEST]:
            names = list_best_first(root)
        logger.info("%s: loading …", ", ".join(names))
        if best := find_best(root):
            logger.info("the default model is %s (%s)", best.name, best.because)
        if open_page is None:
            open_page = has_browser()
        _run(
            root,
            listening,
            host=host,
            address=address,
            token=token,
            models=names,
            open_page=open_page,
        )


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
    token: str | None,
    models: Sequence[str],
    open_page: bool,
) -> None:
    started = perf_counter()
    # torch takes seconds to import, and no other command needs it.
    import uvicorn

    from app.serving.current_searcher import CurrentSearcher
    from app.serving.head_limit import HeadLimitProtocol
    from app.serving.memory_budget import return_freed_memory
    from app.serving.server import build_app

    return_freed_memory()
    current = CurrentSearcher(root, models)
    app = build_app(
        current,
        hosts=find_allowed_hosts(host, listening),
        token=token,
        # Who was given the token may search, but not change files here.
        overrides=root / OVERRIDES if is_loopback(host) else None,
    )
    served = f"{current().choices.image_count:,} images, {', '.join(models)}"
    start_up = perf_counter() - started
    with_token = "" if token is None else f"/?token={token}"
    logger.info(
        "%s%s  (%s; start-up %.1f s; stop with Ctrl-C)", address, with_token, served, start_up
    )
    if not is_loopback(host):
        network = f"http://{find_network_host(listening)}:{listening.getsockname()[1]}{with_token}"
        # A warning, so that --quiet does not hide the only address that lets people in.
        logger.warning(
            "--host %s: whoever has the address %s can search and see all images", host, network
        )
    current.watch()
    if open_page:
        webbrowser.open(address + with_token)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=HeadLimitProtocol,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = uvicorn.Server(config)
    # Uploads that are cut off by the end would give a traceback each.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    server.run(sockets=[listening])

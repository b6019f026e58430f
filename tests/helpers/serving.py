"""Serves an application on a free port of this machine while a test sends requests."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from app.serving.addresses import listen

# Seconds. Long, so that no test fails because the machine is busy.
TIMEOUT = 60


@contextmanager
def serving(app: ASGIApp, **options: Any) -> Iterator[str]:
    """Yield the address at which `app` is served from a thread of this process.

    options: of uvicorn.Config.
    """
    with listen("127.0.0.1", 0) as listening:
        # Without log_config, its messages reach the root logger, where caplog reads them.
        config = uvicorn.Config(
            app, log_level="error", log_config=None, access_log=False, **options
        )
        server = uvicorn.Server(config)
        thread = Thread(target=lambda: server.run(sockets=[listening]))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def open_client(address: str) -> httpx.Client:
    """Return a client of the server at `address`, without the proxies of this machine."""
    return httpx.Client(base_url=address, timeout=TIMEOUT, trust_env=False)


@contextmanager
def client_of(app: ASGIApp) -> Iterator[httpx.Client]:
    """Serve `app` and yield a client of it."""
    with serving(app) as address, open_client(address) as client:
        yield client

"""A real MLflow server on loopback, which tests kill and start again."""

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.clone import running, wait_until


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[None]:
    """Run a server of the store in `folder` (mlflow.db) while the context lasts; then kill it."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with running(folder, *command):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"))
        yield


def answers(url: str) -> bool:
    """Return whether a server is there, and well."""
    try:
        with urllib.request.urlopen(url, timeout=60):  # noqa: S310 - of our own server
            return True
    except OSError:
        return False

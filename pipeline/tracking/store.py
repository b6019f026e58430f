"""Where MLflow keeps its runs: a local database, or the server that MLFLOW_TRACKING_URI names."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500
SERVER = "MLFLOW_TRACKING_URI"  # the variable with the address of a server
# Set before mlflow is imported, unless the user set them. By default MLflow retries for minutes,
# and what is tried again here is more than a request: it cannot make a run twice.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
# MLflow 3 takes an experiment for one of language models where nothing else is said.
KIND = ("mlflow.experimentKind", "custom_model_development")


def is_away(error: Exception) -> bool:
    """Whether MLflow may take the same another time: it is not reached, or busy, or failed.

    Of the local database, only a lock passes by itself.
    """
    if not (_server() or "").startswith("http"):
        return isinstance(error, TimeoutError) or "database is locked" in str(error)
    status = getattr(error, "get_http_status_code", None)  # of an MlflowException
    if status is None and getattr(error, "response", None) is None:  # requests, filelock
        return isinstance(error, OSError) and error.errno is None
    found = status() if status else error.response.status_code  # type: ignore[attr-defined]
    return bool(found >= SERVER_ERROR or found == TOO_MANY_REQUESTS)


def connect(root: Path) -> Any:
    """Return a client of the server, or of the database in `root`; imports MLflow, for seconds."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # It logs each failed attempt; the last one is logged here.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    # How busy the machine is need not be known, and what else cannot be logged is told.
    logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)
    from mlflow import MlflowClient

    # Now, as MLflow sets them when it is imported.
    for library in ("alembic", "mlflow", "mlflow.store.db.utils"):
        logging.getLogger(library).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=find_uri(root))


def find_uri(root: Path) -> str:
    """Return the address of the store of a project's runs."""
    return _server() or f"sqlite:///{(root / 'mlflow.db').resolve()}"


def _server() -> str | None:
    return os.environ.get(SERVER) or None


def find_experiment(client: Any, root: Path, name: str) -> str:
    """Return the id of the experiment of this name, which is made if there is none."""
    found = client.get_experiment_by_name(name)
    if not found:
        # By default MLflow puts the artifacts of a local database below the current folder.
        place = None if _server() else (root / "mlruns").resolve().as_uri()
        made: str = client.create_experiment(name, artifact_location=place, tags=dict([KIND]))
        return made
    known: str = found.experiment_id
    if KIND[0] not in found.tags:
        client.set_experiment_tag(known, *KIND)
    return known


@contextmanager
def database_lock(root: Path) -> Iterator[None]:
    """Let one process at a time make the local database."""
    # Two first runs at the same time would both create the tables of a new SQLite file.
    from filelock import FileLock

    with FileLock(root / "mlflow.db.lock", timeout=60):
        yield

"""An empty MLflow store for tests: to create its tables takes seconds, to copy them none."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path


def put_empty_store(folder: Path) -> None:
    """Put the store that MLflow would create in `folder` there: mlflow.db, without any run."""
    shutil.copy(_empty_store(), folder / "mlflow.db")


@cache
def _empty_store() -> Path:
    from mlflow import MlflowClient

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"

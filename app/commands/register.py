"""`lookalike register`: a model and its index in MLflow, the `champion` where it is better."""

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.publishing.champion import ALIAS, is_champion
from app.publishing.pyfunc_folder import list_files, write_pyfunc
from app.publishing.recorded import read_settings, require_recorded, require_recorded_results
from app.searching.best_model import BEST, resolve_model
from app.searching.catalog import require_files
from app.searching.model_index import ModelIndex
from pipeline.config.load import read_params
from pipeline.data.lineage import digest_model
from pipeline.errors import UserError, one_line
from pipeline.tracking.store import SERVER, connect, database_lock, find_experiment, find_uri
from pipeline.tracking.tracker import MODEL_DIGEST

NOT_IN_NAMES = {"/", ":"}  # MLflow's addresses have them
TAG = "lookalike.model"  # of a version: the name of the model in the project

logger = logging.getLogger(__name__)


def register(root: Path, name: str, *, model: str) -> None:
    """Log a model of the project at `root`, with its index, to MLflow, and register it.

    name: in the registry, of which it becomes a new version. It becomes the `champion` if there is
    none, or if its test queries show that it is better than that one, as `lookalike compare` says.

    Raises:
        UserError: the name is not allowed, a file is missing or of another run, or MLflow does not
            take it.
    """
    if not name.strip() or set(name) & NOT_IN_NAMES:
        raise UserError(f"name: found '{name}'; allowed: a name without / and :, such as products")
    chosen = resolve_model(root, model)
    files = list(list_files(root, chosen.name))
    require_files(root, files)
    _require_one_run(root, chosen.name)
    _set_patience()
    with database_lock(root):
        client = connect(root)
    _use_store(root)
    try:
        with TemporaryDirectory() as scratch:
            saved = write_pyfunc(root, files, chosen.name, Path(scratch))
            version = _upload(client, root, name, chosen.name, saved)
        logger.info("%s is version %s of %s in %s", chosen.name, version, name, find_uri(root))
        moves, why = is_champion(client, name, root, chosen.name)
        if moves:
            client.set_registered_model_alias(name, ALIAS, version)
        print(f"{ALIAS}: {f'version {version}, {why}' if moves else f'stays as it is, {why}'}")
        _warn_of_validation(root, chosen.name)
    except _mlflow_error() as error:
        raise UserError(f"{name}: MLflow does not take it: {one_line(error)}") from None


def _require_one_run(root: Path, model: str) -> None:
    """Raise a UserError unless the model, its index and its results belong together."""
    require_recorded(root, model, read_settings(root, model))
    require_recorded_results(root, model)
    ModelIndex(root, model)


def _warn_of_validation(root: Path, model: str) -> None:
    """Say where validation chose another model: the champion is chosen by the test queries."""
    best = resolve_model(root, BEST)
    if best.name != model:
        logger.warning("on validation %s is the one to use: %s", best.name, best.because)


def _use_store(root: Path) -> None:
    """Let the functions of MLflow that take no client use the same store."""
    import mlflow

    before = os.environ.get(SERVER)
    mlflow.set_tracking_uri(find_uri(root))
    # MLflow sets it too, and a database of the project is no server.
    if before is None:
        os.environ.pop(SERVER, None)


def _set_patience() -> None:
    """Let MLflow wait longer than for the metrics of a training: a model is large."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")


def _mlflow_error() -> type[Exception]:
    from mlflow.exceptions import MlflowException

    error: type[Exception] = MlflowException
    return error


def _upload(client: Any, root: Path, name: str, model: str, saved: Path) -> str:
    """Log what was saved as a model of the run that trained it, and return its version."""
    experiment = find_experiment(client, root, read_params(root / "params.yaml").track.experiment)
    run = _find_run(client, experiment, digest_model(root / "models" / model))
    tags = {TAG: model}
    logged = client.create_logged_model(experiment, name=model, source_run_id=run, tags=tags)
    try:
        client.log_model_artifacts(logged.model_id, str(saved))
        client.finalize_logged_model(logged.model_id, "READY")
        _make_entry(client, name)
        made = client.create_model_version(
            name, f"models:/{logged.model_id}", run_id=run, tags=tags, model_id=logged.model_id
        )
    except BaseException:
        client.delete_logged_model(logged.model_id)
        raise
    return str(made.version)


def _make_entry(client: Any, name: str) -> None:
    """Make the entry of the registry whose versions follow, unless it is there."""
    try:
        client.create_registered_model(name)
    except _mlflow_error() as error:
        if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
            raise


def _find_run(client: Any, experiment: str, digest: str) -> str | None:
    """Return the latest run that `track` finished of the trained model of this digest, if any."""
    query = f"tags.`{MODEL_DIGEST}` = '{digest}'"
    found = client.search_runs([experiment], query, max_results=1)
    return found[0].info.run_id if found else None

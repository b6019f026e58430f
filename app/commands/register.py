"""`lookalike register`: a model and its index in MLflow, the `champion` where it is better."""

import io
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import requires, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from packaging.requirements import Requirement
from PIL import Image

import app
from app.experiments.dvc_adapter.lock import hash_folder, read_lock
from app.publishing.recorded import LOCK, require_recorded
from app.searching.added_images import ADDED, CATALOG_FILE, has_added
from app.searching.best_model import BEST, resolve_model
from app.searching.catalog import require_files
from app.searching.model_index import ModelIndex
from app.searching.served_neighbors import DEFAULT_K, PROJECT
from pipeline.comparison.compare import MAIN_METRIC, Side, compare
from pipeline.comparison.evaluation_set import check_comparable, read_evaluation_set
from pipeline.comparison.verdict import judge
from pipeline.config.load import read_params, read_yaml
from pipeline.data.lineage import digest_model
from pipeline.data.tables import QUERIES, read_table
from pipeline.errors import UserError, one_line
from pipeline.tracking.store import SERVER, connect, database_lock, find_experiment, find_uri
from pipeline.tracking.tracker import MODEL_DIGEST

ALIAS = "champion"
NOT_IN_NAMES = {"/", ":"}  # MLflow's addresses have them
TABLES = ("data/catalog.parquet", "data/classes.parquet", "data/splits.parquet")
TAG = "lookalike.model"  # of a version: the name of the model in the project
CODE = Path(app.__file__).parents[1]
PACKAGES = ("app", "pipeline")

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
    files = list(_list_files(root, chosen.name))
    require_files(root, files)
    _require_one_run(root, chosen.name)
    _set_patience()
    with database_lock(root):
        client = connect(root)
    _use_store(root)
    try:
        with TemporaryDirectory() as scratch:
            saved = _save(root, files, chosen.name, Path(scratch))
            version = _upload(client, root, name, chosen.name, saved)
        logger.info("%s is version %s of %s in %s", chosen.name, version, name, find_uri(root))
        moves, why = _is_champion(client, name, root, chosen.name)
        if moves:
            client.set_registered_model_alias(name, ALIAS, version)
        print(f"{ALIAS}: {f'version {version}, {why}' if moves else f'stays as it is, {why}'}")
        _warn_of_validation(root, chosen.name)
    except _mlflow_error() as error:
        raise UserError(f"{name}: MLflow does not take it: {one_line(error)}") from None


def _require_one_run(root: Path, model: str) -> None:
    """Raise a UserError unless the model, its index and its results belong together."""
    require_recorded(root, model, read_yaml(root / "params.yaml"))
    results, path = f"results/{model}", root / LOCK
    if path.is_file():
        lock = read_lock(path.read_text("utf-8"), where=str(path))
        recorded = lock.hash_of(results)
        current = recorded == hash_folder(root / results) and lock.is_of_one_run(results)
        if recorded is not None and not current:
            raise UserError(
                f"{root / results}: not measured of this models/{model}; run: dvc repro"
            )
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


def _list_files(root: Path, model: str) -> Iterator[Path]:
    """Yield what a search, and a comparison with another version, need."""
    yield from (root / name for name in TABLES)
    yield root / "results" / model / "queries.parquet"
    yield from (root / "models" / model, root / "index" / model)
    if has_added(root):
        yield root / CATALOG_FILE
        yield root / "index" / ADDED / model


def _copy(root: Path, files: Sequence[Path], to: Path) -> Path:
    metrics = list((root / "metrics/details").glob("*.json"))  # with the match threshold
    for path in [*files, *metrics]:
        target = to / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copy(path, target)
    return to


def _save(root: Path, files: Sequence[Path], model: str, scratch: Path) -> Path:
    """Return a folder with the model as MLflow keeps it, made in `scratch`."""
    from mlflow import pyfunc

    # A copy, as MLflow notes where the file was.
    code = shutil.copy(CODE / "app/searching/mlflow_model.py", scratch)
    saved = scratch / "model"
    pyfunc.save_model(
        saved,
        python_model=str(code),
        artifacts={PROJECT: str(_copy(root, files, scratch / PROJECT))},
        code_paths=[str(CODE / package) for package in PACKAGES],
        signature=_signature(),
        input_example=pd.DataFrame({"image": [_draw_example()]}),
        pip_requirements=list(_list_requirements()),
        model_config={"model": model},
    )
    return saved


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


def _draw_example() -> bytes:
    """Return an image of no one, as the example of what the model takes."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "#8a9099").save(out, "PNG")
    return out.getvalue()


def _signature() -> Any:
    """Return what `ServedNeighbors.predict` takes and returns."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    texts = Array(DataType.string)
    columns = {"image_ids": texts, "scores": Array(DataType.double), "classes": Array(texts)}
    columns |= {"vector": Array(DataType.double)}
    outputs = [ColSpec(kind, name) for name, kind in columns.items()]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema([*outputs, ColSpec(DataType.boolean, "match", required=False)]),
        params=ParamSchema([ParamSpec("k", DataType.long, DEFAULT_K)]),
    )


def _list_requirements() -> Iterator[str]:
    """Yield the packages that the code needs, in the versions that are installed here."""
    for text in requires("lookalike") or []:
        wanted = Requirement(text)
        if wanted.marker is None:
            yield f"{wanted.name}=={version(wanted.name)}"


def _is_champion(client: Any, name: str, root: Path, model: str) -> tuple[bool, str]:
    """Return whether the model takes the place of the champion, and why."""
    from mlflow.artifacts import download_artifacts

    versions = client.get_registered_model(name).aliases
    if ALIAS not in versions:
        return True, "the first"
    held = versions[ALIAS]
    uri = f"models:/{name}/{held}/artifacts/{PROJECT}"
    with TemporaryDirectory() as scratch:
        try:
            # Not its index, which may be large.
            data, results = (
                Path(download_artifacts(f"{uri}/{folder}", dst_path=scratch))
                for folder in ("data", "results")
            )
            return _is_better((data, results), root, model, held)
        except UserError as error:
            return False, f"version {held}, as the two cannot be compared: {error}"


def _is_better(
    champion_folders: tuple[Path, Path], root: Path, model: str, held: str
) -> tuple[bool, str]:
    """Return whether the model is better than version `held`, of which the folders are, and why."""
    data, of_champion = champion_folders
    sets = [read_evaluation_set(place) for place in (data, root / "data")]
    check_comparable(sets[0], sets[1], (f"version {held}", model))
    (results,) = of_champion.glob("*/queries.parquet")
    champion, new = (
        Side([read_table(path, QUERIES).to_pandas()], trained=False)
        for path in (results, root / "results" / model / "queries.parquet")
    )
    found = compare(champion, new, sets[0].classes, new_classes=sets[0].new_classes)
    main = found.metrics[found.metrics["metric"] == MAIN_METRIC].iloc[0]
    word = judge(found.metrics).word
    difference = f"{MAIN_METRIC} {main['b'] - main['a']:+.3f}"
    return word == "better", f"compared with version {held}: {word} ({difference})"

"""`lookalike register`: a model and its index in MLflow, the `champion` where it is better."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import requires, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from packaging.requirements import Requirement

import app
from app.searching.added_images import ADDED, CATALOG_FILE, has_added
from app.searching.best_model import resolve_model
from app.searching.catalog import Catalog, require_files
from app.searching.served_neighbors import DEFAULT_K, PROJECT
from pipeline.comparison.compare import MAIN_METRIC, Side, compare
from pipeline.comparison.evaluation_set import check_comparable, read_evaluation_set
from pipeline.comparison.verdict import judge
from pipeline.config.load import read_params
from pipeline.data.lineage import digest_model
from pipeline.data.tables import QUERIES, read_table
from pipeline.errors import UserError, one_line
from pipeline.tracking.store import connect, find_experiment, find_uri
from pipeline.tracking.tracker import MODEL_DIGEST

ALIAS = "champion"
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
        UserError: a file is missing, or MLflow does not take it.
    """
    model = resolve_model(root, model).name
    files = list(_list_files(root, model))
    require_files(root, files)
    params = read_params(root / "params.yaml")
    client = connect(root)
    try:
        experiment = find_experiment(client, root, params.track.experiment)
        run = _find_run(client, experiment, digest_model(root / "models" / model))
        with TemporaryDirectory() as scratch:
            project = _copy(root, files, Path(scratch) / PROJECT)
            logged = _log(root, experiment, run, name, model, project)
        logger.info("%s is version %s of %s: %s", model, logged, name, find_uri(root))
        moves, why = _is_champion(client, name, root, model)
        if moves:
            client.set_registered_model_alias(name, ALIAS, logged)
        print(f"{ALIAS}: {f'version {logged}, {why}' if moves else f'stays as it is, {why}'}")
    except _mlflow_error() as error:
        raise UserError(f"{name}: MLflow does not take it: {one_line(error)}") from None


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


def _find_run(client: Any, experiment: str, digest: str) -> str | None:
    """Return the latest run that `track` finished of the trained model of this digest, if any."""
    query = f"tags.`{MODEL_DIGEST}` = '{digest}'"
    found = client.search_runs([experiment], query, max_results=1)
    return found[0].info.run_id if found else None


def _log(root: Path, experiment: str, run: str | None, name: str, model: str, project: Path) -> str:
    """Log the model in its run, or where it has none in one of its own; return the version."""
    import mlflow

    mlflow.set_tracking_uri(find_uri(root))
    with mlflow.start_run(run_id=run, experiment_id=None if run else experiment):
        logged = mlflow.pyfunc.log_model(
            name=model,
            python_model=str(CODE / "app/searching/mlflow_model.py"),
            artifacts={PROJECT: str(project)},
            code_paths=[str(CODE / package) for package in PACKAGES],
            signature=_signature(),
            input_example=pd.DataFrame({"image": [_first_image(root)]}),
            pip_requirements=list(_list_requirements()),
            model_config={"model": model},
            registered_model_name=name,
        )
    return str(logged.registered_model_version)


def _first_image(root: Path) -> bytes:
    images = Catalog(root).images
    return images.read(images.ids[0])


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
    uri = f"models:/{name}/{held}"
    with TemporaryDirectory() as scratch:
        try:
            other = Path(download_artifacts(f"{uri}/artifacts/{PROJECT}", dst_path=scratch))
            return _is_better(other, root, model, held)
        except UserError as error:
            return False, f"version {held}, as the two cannot be compared: {error}"


def _is_better(other: Path, root: Path, model: str, held: str) -> tuple[bool, str]:
    """Return whether the model is better than the one of version `held`, in `other`."""
    sets = [read_evaluation_set(place / "data") for place in (other, root)]
    check_comparable(sets[0], sets[1], (f"version {held}", model))
    (results,) = (other / "results").glob("*/queries.parquet")
    champion, new = (
        Side([read_table(path, QUERIES).to_pandas()], trained=False)
        for path in (results, root / "results" / model / "queries.parquet")
    )
    found = compare(champion, new, sets[0].classes, new_classes=sets[0].new_classes)
    main = found.metrics[found.metrics["metric"] == MAIN_METRIC].iloc[0]
    word = judge(found.metrics).word
    difference = f"{MAIN_METRIC} {main['b'] - main['a']:+.3f}"
    return word == "better", f"compared with version {held}: {word} ({difference})"

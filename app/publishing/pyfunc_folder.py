"""A model with its index as a folder that MLflow loads and serves, as a pyfunc."""

import io
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pandas as pd
from packaging.requirements import Requirement
from PIL import Image

import app
from app.experiments.evaluated_models import TABLES
from app.searching.added_images import ADDED, CATALOG_FILE, has_added
from app.searching.served_neighbors import DEFAULT_K, PROJECT

CODE = Path(app.__file__).parents[1]
PACKAGES = ("app", "pipeline")


def list_files(root: Path, model: str) -> Iterator[Path]:
    """Yield what a search, and a comparison with another version, need."""
    yield from (root / name for name in TABLES)
    yield root / "results" / model / "queries.parquet"
    yield from (root / "models" / model, root / "index" / model)
    if has_added(root):
        yield root / CATALOG_FILE
        yield root / "index" / ADDED / model


def write_pyfunc(root: Path, files: Sequence[Path], model: str, scratch: Path) -> Path:
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
        signature=_describe_signature(),
        input_example=pd.DataFrame({"image": [_draw_example()]}),
        pip_requirements=list(_list_requirements()),
        model_config={"model": model},
    )
    return saved


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


def _draw_example() -> bytes:
    """Return an image of no one, as the example of what the model takes."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "#8a9099").save(out, "PNG")
    return out.getvalue()


def _describe_signature() -> Any:
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

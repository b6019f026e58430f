"""`lookalike doctor`: what this machine and project have, and what a run will take here."""

import configparser
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from app.project import DAG
from pipeline.config.load import read_params
from pipeline.config.schema import Params
from pipeline.data.json_files import read_json
from pipeline.data.tables import CATALOG, SPLITS, read_table
from pipeline.errors import UserError, one_line
from pipeline.machine import describe_machine
from pipeline.models.packaged_weights import PACKAGED

GIB = 2**30
LIBRARIES = ("dvc", "mlflow", "torch", "faiss-cpu")
BATCH = 16  # images, on which the network is timed
SECONDS = 1.5  # of timing, each
FREE_DISK = 5 * GIB  # less is told

Line = tuple[str, str]


def examine(root: Path) -> bool:
    """Print what there is, in one screen; return whether nothing has to be mended.

    The network of params.yaml is timed for a few seconds, so that the times are of this machine.
    """
    faults: list[str] = []
    _print("this machine", [*_machine(root, faults)])
    params = _read(root, faults)
    if params is not None:
        _print("this project", [*_project(root, params, faults)])
        _print("a run of params.yaml takes here, about", [*_needs(root, params, faults)])
    _print("to mend", [("", fault) for fault in faults or ["nothing"]])
    return not faults


def _print(heading: str, lines: list[Line]) -> None:
    width = max(len(name) for name, _ in lines)
    print(f"{heading}:")
    for name, text in lines:
        print(f"  {name:{width}}  {text}" if width else f"  {text}")


def _machine(root: Path, faults: list[str]) -> Iterator[Line]:
    found, memory = describe_machine("portable"), psutil.virtual_memory()
    free = shutil.disk_usage(root).free
    yield "processor", f"{found['processor']}, {found['cores']} cores, {found['extensions']}"
    yield "memory", f"{memory.total / GIB:.0f} GiB, {memory.available / GIB:.0f} of them free"
    yield "GPU", "none: all is computed by the processor" if found["gpu"] == "-" else found["gpu"]
    yield "disk", f"{free / GIB:.0f} GiB free here"
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    yield "versions", f"Python {found['python']}, {versions}"
    if "avx2" not in found["extensions"].split():
        faults.append("the processor has no AVX2: results may differ from those of others")
    if free < FREE_DISK:
        faults.append(f"{free / GIB:.1f} GiB of disk are free; make room for images and results")


def _read(root: Path, faults: list[str]) -> Params | None:
    if not (root / DAG).is_file():
        faults.append(f"{root / DAG}: no such file; run from the root of the project")
        return None
    try:
        return read_params(root / "params.yaml")
    except UserError as error:
        faults += error.args
        return None


def _project(root: Path, params: Params, faults: list[str]) -> Iterator[Line]:
    name, source = params.data.name, root / os.path.expanduser(params.data.source)
    rendered = name == "products"
    there = rendered or source.exists()
    yield "dataset", f"{name}{'' if rendered else f' from {params.data.source}'}"
    if not there:
        faults.append(f"data.source: found '{params.data.source}'; no such file or folder")
    yield "images", _describe_images(root)
    yield "weights", _describe_weights(root, params, faults)
    yield "remote", _describe_remote(root)
    server = os.environ.get("MLFLOW_TRACKING_URI", "mlflow.db, here")
    yield "MLflow", _without_password(server)
    yield "results", "of the last run" if (root / "results").is_dir() else "none yet: dvc repro"


def _describe_images(root: Path) -> str:
    path = root / "data/catalog.parquet"
    if not path.is_file():
        return "none packed yet: dvc repro"
    return f"{read_table(path, CATALOG).num_rows:,} packed"


def _describe_weights(root: Path, params: Params, faults: list[str]) -> str:
    weights = params.backbone.weights
    known = {None: "random", PACKAGED: "installed", "imagenet": "fetched from the network"}
    if weights in known:
        return f"{params.backbone.name}, {known[weights]}"
    if not (root / str(weights)).is_file():
        faults.append(f"backbone.weights: found '{weights}'; no such file")
    return f"{params.backbone.name}, of {weights}"


def _describe_remote(root: Path) -> str:
    """Return DVC's default remote, of the project's own settings."""
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read([root / ".dvc/config", root / ".dvc/config.local"])
    except configparser.Error as error:
        return f"unknown: .dvc/config cannot be read ({one_line(error)})"
    name = config.get("core", "remote", fallback="").strip()
    if not name:
        return "none: what is made stays here (docs/sharing.md)"
    section = f"'remote \"{name}\"'"
    return f"{name}, {_without_password(config.get(section, 'url', fallback='without a url'))}"


def _without_password(url: str) -> str:
    """Return an address without the user and password in it: people paste what they see."""
    return re.sub(r"//[^/@]*@", "//", url)


def _needs(root: Path, params: Params, faults: list[str]) -> Iterator[Line]:
    """Time the network, and yield how long its stages take; nothing where it cannot be built."""
    try:
        side, embedding, training = _time_network(root, params)
    except UserError as error:
        faults += error.args
        yield "network", "cannot be built"
        return
    yield "network", f"{embedding:.0f} images a second embedded, {training:.0f} trained, {side} px"
    splits = root / "data/splits.parquet"
    if not splits.is_file():
        yield "time", "known when the images are packed: dvc repro split"
        return
    split = read_table(splits, SPLITS)["split"].to_pylist()
    file = root / "params.yaml"
    trainings = [params, *(read_params(file, variant=name) for name in params.variants)]
    trained = sum(_count_trained(each, split.count("train")) for each in trainings)
    yield "embed", f"{_duration(len(split) * len(params.models) / embedding)} for all models"
    epochs = " + ".join(str(each.train.epochs) for each in trainings)
    yield "train", f"{_duration(trained / training)} for {epochs} epochs at most"


def _count_trained(params: Params, images: int) -> int:
    """Return how many images go through the network in a training, about: of a head alone none,
    as it is trained on embeddings."""
    train = params.train
    if train.freeze == "backbone" and train.augment.crop is None:
        return 0
    if train.steps is not None and isinstance(params.batches.options.images, int):
        images = train.steps * params.batches.options.images
    return images * train.epochs


def _time_network(root: Path, params: Params) -> tuple[int, float, float]:
    """Return pixels, and how many images a second are embedded and trained on here."""
    import torch

    from pipeline.models.backbones import find_image_size
    from pipeline.models.devices import find_device
    from pipeline.models.embed_images import embed_pixels
    from pipeline.models.embedder import SPEC_FILE, build_baseline

    chosen, spec = params.backbone, root / "models/baseline" / SPEC_FILE
    side = chosen.image_size
    if not isinstance(side, int):  # what the last run chose, or the network's own
        known = read_json(spec, dict[str, Any], what="a model") if spec.is_file() else {}
        side = int(known.get("image_size") or find_image_size(chosen.name))
    device = find_device()
    model = build_baseline(
        chosen.name,
        image_size=side,
        pooling=chosen.pooling,
        level=chosen.level,
        weights=None,
        seed=0,
    ).to(device)
    pixels = torch.zeros(BATCH, side, side, 3, dtype=torch.uint8, device=device)

    def embed() -> None:
        with torch.inference_mode():
            embed_pixels(model, pixels, hflip=params.embed.hflip)

    def train() -> None:
        embed_pixels(model, pixels, hflip=False).sum().backward()  # type: ignore[no-untyped-call]

    return side, _rate(embed), _rate(train)


def _rate(work: Callable[[], None]) -> float:
    """Return images a second of `work`, which takes BATCH of them; the first is not counted."""
    work()
    began, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - began < SECONDS:
        work()
        calls += 1
    return BATCH * calls / (time.perf_counter() - began)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(1, seconds):.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"

"""A small project to search in: drawn images, two models and their indexes, made by the stages.

It takes seconds, because no network is trained.
"""

import io
import json
from collections.abc import Callable, Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from ruamel.yaml import YAML

from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.metrics_files import MATCH_THRESHOLD, label_metrics
from pipeline.data.training_record import TrainingRecord, write_record
from pipeline.datasets.source_image import SourceImage
from pipeline.models.embedder import attach_head, build_baseline, save_embedder
from pipeline.packing.packing import AddedOutputs, Outputs, pack, pack_added
from stages import embed, index, split
from tests.helpers.overlay import overlaid

COLORS = ("red", "green", "blue", "black", "purple")
SHAPES = ("disc", "square")
IMAGES = 4  # of each class; a class is a color and a shape, and half of the classes are for test
SIZE = (48, 40)
PARAMS = {"embed.workers": 0, "embed.precision": "fp32", "split.protocol": "class_disjoint"}


def build(
    folder: Path, *, write_models: Callable[[Path], None] | None = None, **changes: object
) -> Path:
    """Return `folder`, now with params.yaml, data/, models/, embeddings/ and index/.

    write_models: writes both into a folder, in place of `write_random_models`. changes: values of
    params.yaml, with `__` in place of the dots of their keys.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "params.yaml").open("w") as out:
        YAML().dump(overlaid(PARAMS | changes), out)
    names = ("images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet")
    with chdir(folder):
        (folder / "data").mkdir()
        torch.set_num_threads(1)  # faster than more threads where other tests run too
        outputs = Outputs(*(Path("data") / name for name in names))
        pack(drawn_images(), outputs, max_rejected=0.0)
        pack_added_images(folder, [])
        split.main(
            outputs.catalog, outputs.classes, outputs.health, out=Path("data/splits.parquet")
        )
        (write_models or write_random_models)(folder)
        for model in ("baseline", "finetuned"):
            embed_again(folder, model)
            index_again(folder, model)
    (folder / "dvc.yaml").touch()
    return folder


def pack_added_images(folder: Path, images: Sequence[SourceImage]) -> None:
    """Write data/added, of `images` without labels."""
    names = ("images", "catalog.parquet", "rejected.csv")
    to = AddedOutputs(*(folder / "data/added" / name for name in names))
    pack_added(images, to)


def write_random_models(folder: Path, *, seed: int = 1) -> None:
    """Write models/baseline and models/finetuned, of 512 and 16 dimensions, with random weights."""
    baseline = build_baseline("resnet18", image_size=32, pooling="avg", weights=None, seed=seed)
    finetuned = attach_head(baseline, name="linear", dim=16, hidden=0, normalize=True, seed=seed)
    save_embedder(baseline, folder / "models/baseline")
    save_embedder(finetuned, folder / "models/finetuned")
    write_record(folder / "models/finetuned", TrainingRecord("finetuned", "it is a test", 3, {}))


def write_threshold(folder: Path, model: str, threshold: float | None) -> None:
    """Write metrics/details/<model>.json as evaluate does, with or without a threshold."""
    numbers = {} if threshold is None else {MATCH_THRESHOLD: threshold}
    fingerprint = read_dataset_fingerprint(folder / "data/catalog.parquet")
    labelled = label_metrics(numbers, dataset="folder", fingerprint=fingerprint)
    (folder / "metrics/details").mkdir(parents=True, exist_ok=True)
    (folder / f"metrics/details/{model}.json").write_text(json.dumps(labelled))


def embed_again(folder: Path, model: str) -> None:
    """Run the embed stage of one model."""
    with chdir(folder):
        embed.main(
            model,
            model_dir=Path("models") / model,
            images=Path("data/images"),
            added=Path("data/added/images"),
            kept=Path("kept") / model,
            kept_baseline=Path("kept/baseline"),
            out=Path(f"embeddings/{model}"),
            added_out=Path(f"embeddings/added/{model}"),
        )


def index_again(folder: Path, model: str) -> None:
    """Run the index stage of one model."""
    with chdir(folder):
        index.main(
            embeddings=Path(f"embeddings/{model}"),
            added=Path(f"embeddings/added/{model}"),
            splits=Path("data/splits.parquet"),
            catalog=Path("data/catalog.parquet"),
            out=Path(f"index/{model}"),
            added_out=Path(f"index/added/{model}"),
            model=model,
        )


def drawn_images() -> list[SourceImage]:
    """Return the images: each color and shape is a class, each shape a group."""
    return [
        SourceImage(
            path=f"{color} {shape}/{number}.jpg",
            labels=(f"{color} {shape}",),
            read=partial(draw, color, shape, number),
            group=shape,
        )
        for color in COLORS
        for shape in SHAPES
        for number in range(IMAGES)
    ]


def draw(color: str, shape: str, number: int) -> bytes:
    """Return a JPEG of a shape, whose place and size depend on the number."""
    rng = np.random.default_rng([COLORS.index(color), SHAPES.index(shape), number])
    ground = tuple(int(level) for level in rng.integers(190, 255, 3))
    image = Image.new("RGB", SIZE, ground)
    left, top, side = rng.integers(2, 20), rng.integers(2, 12), rng.integers(16, 26)
    pen = ImageDraw.Draw(image)
    corners = (int(left), int(top), int(left + side), int(top + side))
    (pen.ellipse if shape == "disc" else pen.rectangle)(corners, fill=color)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92)
    return out.getvalue()


def truncate_large_png() -> bytes:
    """Return the first bytes of a PNG of 96 million pixels: allowed, but Pillow warns of it."""
    whole = io.BytesIO()
    Image.new("1", (9_800, 9_800)).save(whole, "PNG")
    return whole.getvalue()[:200]

"""The images of the projections for TensorBoard's embedding projector: vectors and thumbnails."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from PIL import Image

from pipeline.data.arrays import Vectors
from pipeline.data.files import written_whole
from pipeline.figures.projection_sample import ProjectionSample
from pipeline.report.thumbnails import columns_of, draw_grid

SPRITE_SIDE = 48  # pixels of each image, unless there are too many
MOST_PIXELS = 8192  # side of the sprite; the projector loads no larger one
DIGITS = 5  # significant digits of a vector's numbers


def write_projector(
    directory: Path,
    sample: ProjectionSample,
    vectors: Mapping[str, Vectors],
    thumbnails: Sequence[Image.Image],
) -> None:
    """Write the files that `tensorboard --logdir <directory>` shows, of N images.

    vectors_<model>.tsv: N rows of D numbers. metadata.tsv: a header and N rows. sprite.png: a
    square of images, row by row. projector_config.pbtxt: names these files.

    vectors: {model: [N, D]}. thumbnails: N images of one size.
    """
    side = sprite_side(len(thumbnails))
    small = [thumbnail.resize((side, side), Image.Resampling.BOX) for thumbnail in thumbnails]
    # TensorBoard shows the first one at start: the trained model.
    models = list(reversed(list(vectors)))
    with written_whole(directory) as (unfinished,):
        unfinished.mkdir()
        for model, rows in vectors.items():
            _write_vectors(rows, unfinished / f"vectors_{model}.tsv")
        _write_metadata(sample, unfinished / "metadata.tsv")
        draw_grid(small).save(unfinished / "sprite.png", optimize=False, compress_level=6)
        (unfinished / "projector_config.pbtxt").write_text(
            "".join(_config(model, side=side) for model in models)
        )


def sprite_side(count: int) -> int:
    """Return the side, in pixels, of each of `count` images in a sprite.

    >>> sprite_side(3000), sprite_side(100_000)
    (48, 25)
    """
    return max(1, min(SPRITE_SIDE, MOST_PIXELS // columns_of(count)))


def _write_vectors(rows: Vectors, path: Path) -> None:
    # Significant digits, not decimals: an embedding may have any length.
    exponent = np.floor(np.log10(np.maximum(np.abs(rows), np.finfo(np.float32).tiny)))
    scale = 10.0 ** (DIGITS - 1 - exponent.astype(np.float64))
    shown = (np.round(rows * scale) / scale).astype(np.float32)
    table = pa.table({str(axis): column for axis, column in enumerate(shown.T)})
    csv.write_csv(table, path, csv.WriteOptions(include_header=False, delimiter="\t"))


def _write_metadata(sample: ProjectionSample, path: Path) -> None:
    lines = ["class\tgroup\timage_id"]
    for image_id, names, group in zip(sample.image_ids, sample.classes, sample.groups, strict=True):
        cells = (", ".join(names), group or "", image_id)
        lines.append("\t".join(" ".join(cell.split()) for cell in cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _config(model: str, *, side: int) -> str:
    return f"""embeddings {{
  tensor_name: "{model}"
  tensor_path: "vectors_{model}.tsv"
  metadata_path: "metadata.tsv"
  sprite {{
    image_path: "sprite.png"
    single_image_dim: {side}
    single_image_dim: {side}
  }}
}}
"""

"""The test images that projections show: who they are, and their vectors by each model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.data import tables
from pipeline.data.arrays import Vectors
from pipeline.data.class_names import names_of
from pipeline.data.embeddings import read_embeddings
from pipeline.errors import UserError
from pipeline.figures.palette import MODELS
from pipeline.figures.projections import sample_points
from pipeline.index.distances import to_unit_length


@dataclass(frozen=True)
class Sample:
    """The N test images of the projections, in the order of their points.

    classes: the names that stand at each. groups: None where an image has none. total: how many
    test images there are, of which these were drawn.
    """

    image_ids: Sequence[str]
    classes: Sequence[Sequence[str]]
    groups: Sequence[str | None]
    total: int


def read_sample(
    splits: Path, known: pd.DataFrame, names: Mapping[int, str], *, most: int, seed: int
) -> Sample:
    """Return at most `most` of the test images, drawn from `seed`.

    Images that were trained on lie where the loss put them; only the others show quality.

    known: the CATALOG table. names: label -> class name. Raises as `draw_sample`.
    """
    table = tables.read_table(splits, tables.SPLITS).to_pandas()
    test = list(table.loc[table["split"] == "test", "image_id"])
    drawn = sample_points(test, most=most, seed=seed)
    rows = known.set_index("image_id").loc[drawn]
    classes = [names_of(labels, names) for labels in rows["labels"]]
    groups = [None if pd.isna(group) else str(group) for group in rows["group"]]
    return Sample(drawn, classes, groups, total=len(test))


def read_vectors(directory: Path, image_ids: Sequence[str], *, distance: str) -> dict[str, Vectors]:
    """Return each model's embeddings of `image_ids`, float32 [N, D], of length 1 for cosine.

    directory: of <model>.parquet.

    Raises:
        UserError: one of the images has no embedding.
    """
    vectors = {}
    for model in MODELS:
        path = directory / f"{model}.parquet"
        ids, rows = read_embeddings(path)
        rows = rows[_find(image_ids, ids, where=path)]
        vectors[model] = to_unit_length(rows) if distance == "cosine" else rows
    return vectors


def _find(wanted: Sequence[str], ids: list[str], *, where: Path) -> NDArray[np.int64]:
    row = {image_id: place for place, image_id in enumerate(ids)}
    missing = [image_id for image_id in wanted if image_id not in row]
    if missing:
        raise UserError(
            f"{where}: {len(missing)} test images have no embedding, the first is "
            f"'{missing[0]}'; run: dvc repro embed"
        )
    return np.array([row[image_id] for image_id in wanted])

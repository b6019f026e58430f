"""The test images that projections show: who they are, and their vectors by each model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from pipeline.data import tables
from pipeline.data.arrays import Vectors
from pipeline.data.class_names import names_of
from pipeline.data.embeddings import read_embeddings
from pipeline.data.joins import find_rows
from pipeline.figures.palette import MODELS
from pipeline.figures.projections import sample_points
from pipeline.index.distances import to_unit_length


@dataclass(frozen=True)
class ProjectionSample:
    """The N test images of the projections, in the order of their points.

    classes: the names that stand at each. groups: None where an image has none. total: how many
    test images there are, of which these were drawn.
    """

    image_ids: Sequence[str]
    classes: Sequence[Sequence[str]]
    groups: Sequence[str | None]
    total: int


def read_sample(
    splits: Path,
    known: pd.DataFrame,
    names: Mapping[int, str],
    *,
    catalog: Path,
    most: int,
    seed: int,
) -> ProjectionSample:
    """Return at most `most` of the test images, drawn from `seed`.

    Images that were trained on lie where the loss put them; only the others show quality.

    known: the CATALOG table, read from `catalog`. names: label -> class name.

    Raises:
        UserError: one of the images is not in the catalog.
    """
    table = tables.read_table(splits, tables.SPLITS).to_pandas()
    test = list(table.loc[table["split"] == "test", "image_id"])
    drawn = sample_points(test, most=most, seed=seed)
    known_ids = pa.array(known["image_id"], pa.string())
    rows = known.iloc[find_rows(drawn, known_ids, ids_from=splits, table=catalog)]
    classes = [names_of(labels, names) for labels in rows["labels"]]
    groups = [None if pd.isna(group) else str(group) for group in rows["group"]]
    return ProjectionSample(drawn, classes, groups, total=len(test))


def read_vectors(
    directory: Path, image_ids: Sequence[str], *, splits: Path, distance: str
) -> dict[str, Vectors]:
    """Return each model's embeddings of `image_ids`, float32 [N, D], of length 1 for cosine.

    directory: of <model>.parquet. splits: the file of the image_ids, for the error text.

    Raises:
        UserError: one of the images has no embedding.
    """
    vectors = {}
    for model in MODELS:
        path = directory / f"{model}.parquet"
        ids, rows = read_embeddings(path)
        rows = rows[find_rows(image_ids, pa.array(ids, pa.string()), ids_from=splits, table=path)]
        vectors[model] = to_unit_length(rows) if distance == "cosine" else rows
    return vectors

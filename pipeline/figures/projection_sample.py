"""The test images that the projections show, and their vectors from each model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from pipeline.data import tables
from pipeline.data.arrays import Vectors
from pipeline.data.class_names import names_of, on_one_line
from pipeline.data.joins import find_rows, read_vectors_of
from pipeline.figures.palette import MODELS
from pipeline.figures.projections import sample_ids
from pipeline.index.distances import to_unit_length


@dataclass(frozen=True)
class ProjectionSample:
    """The N test images of the projections, in the order of their points.

    classes: the class names of each. groups: None for an image without a group. total: the number
    of all test images, of which these are a random sample.
    """

    image_ids: Sequence[str]
    classes: Sequence[Sequence[str]]
    groups: Sequence[str | None]
    total: int


def read_sample(
    splits: Path,
    catalog: pd.DataFrame,
    class_names: Mapping[int, str],
    *,
    catalog_path: Path,
    most: int,
    seed: int,
) -> ProjectionSample:
    """Return at most `most` of the test images, sampled with `seed`.

    Training images lie where the loss has put them; only test images show how good a model is.

    catalog: the CATALOG table, read from `catalog_path`. class_names: label -> display name.

    Raises:
        UserError: there are too few images, or the catalog lacks one of them.
    """
    table = tables.read_table(splits, tables.SPLITS).to_pandas()
    test = list(table.loc[table["split"] == "test", "image_id"])
    sampled = sample_ids(test, most=most, seed=seed)
    catalog_ids = pa.array(catalog["image_id"], pa.string())
    rows = catalog.iloc[find_rows(sampled, catalog_ids, ids_from=splits, table=catalog_path)]
    classes = [names_of(labels, class_names) for labels in rows["labels"]]
    groups = [None if pd.isna(group) else on_one_line(group) for group in rows["group"]]
    return ProjectionSample(sampled, classes, groups, total=len(test))


def read_vectors(
    directory: Path, image_ids: Sequence[str], *, splits: Path, distance: str
) -> dict[str, Vectors]:
    """Return each model's embeddings of `image_ids`, float32 [N, D], of length 1 for cosine.

    directory: of <model>, the embeddings. splits: the file of the image_ids, for the error text.

    Raises:
        UserError: one of the images has no embedding.
    """
    vectors = {}
    for model in MODELS:
        rows = read_vectors_of(directory / model, image_ids, ids_from=splits)
        vectors[model] = to_unit_length(rows) if distance == "cosine" else rows
    return vectors

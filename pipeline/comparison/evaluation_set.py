"""The images that a model was evaluated on, and whether two models have comparable ones."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.data import tables
from pipeline.data.class_names import names_of, read_class_names
from pipeline.data.joins import find_rows
from pipeline.data.label_sets import label_sets
from pipeline.errors import UserError
from pipeline.evaluation.intervals_over import are_test_classes_new


@dataclass(frozen=True)
class EvaluationSet:
    """The queries and the gallery that a model was evaluated on.

    gallery: their image_ids. classes: image_id -> the sorted names of its classes, of queries and
    gallery images. Names, because a new class changes the numbers of labels. new_classes: whether
    none of the test classes is one of training or validation (`are_test_classes_new`).
    """

    gallery: frozenset[str]
    classes: pd.Series
    new_classes: bool


def read_evaluation_set(data: Path) -> EvaluationSet:
    """Return the evaluation set of the splits, catalog and classes in the folder `data`."""
    splits_file, catalog_file = data / "splits.parquet", data / "catalog.parquet"
    splits = tables.read_table(splits_file, tables.SPLITS).to_pandas()
    catalog = tables.read_table(catalog_file, tables.CATALOG)
    names = read_class_names(data / "classes.parquet")
    known_ids = catalog["image_id"].combine_chunks()
    rows = find_rows(splits["image_id"], known_ids, ids_from=splits_file, table=catalog_file)
    found = (splits["is_query"] | splits["is_gallery"]).to_numpy()
    labels = pd.Series(
        catalog["labels"].take(rows[found]).to_pylist(), index=splits.loc[found, "image_id"]
    )
    of_splits = label_sets(catalog["labels"].take(rows))
    return EvaluationSet(
        gallery=frozenset(splits.loc[splits["is_gallery"], "image_id"]),
        classes=labels.map(lambda known: names_of(known, names)),
        new_classes=are_test_classes_new(of_splits, splits["split"].to_numpy()),
    )


def check_comparable(
    a: EvaluationSet, b: EvaluationSet, sides: tuple[str, str] = ("A", "B")
) -> None:
    """Raise a UserError unless both have the same gallery, and the same classes of shared images.

    Any model has better metrics with a smaller gallery, or with one of more different images.
    sides: the names of both.
    """
    one, other = sides
    only_a, only_b = len(a.gallery - b.gallery), len(b.gallery - a.gallery)
    if only_a or only_b:
        raise UserError(
            f"{one} and {other}: found two galleries, {only_a} images are only in {one}'s and "
            f"{only_b} only in {other}'s; allowed: one gallery, because metrics depend on it; give "
            "both the same data, split and seed (for another training, change train.seed)"
        )
    shared = a.classes.index.intersection(b.classes.index)
    differs = a.classes.loc[shared] != b.classes.loc[shared]
    if differs.any():
        first = shared[differs.to_numpy()][0]
        raise UserError(
            f"{one} and {other}: found other classes for {differs.sum()} images, the first is "
            f"'{first}': {_join(a.classes[first])} in {one}, {_join(b.classes[first])} in {other}; "
            "allowed: one catalog"
        )


def _join(names: tuple[str, ...]) -> str:
    return " + ".join(names)

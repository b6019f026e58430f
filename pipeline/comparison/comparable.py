"""Whether two models were evaluated on the same queries and gallery, and so can be compared."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.data import tables
from pipeline.data.class_names import names_of, read_class_names
from pipeline.data.joins import find_rows
from pipeline.errors import UserError


@dataclass(frozen=True)
class TestSet:
    """gallery: image_ids that are searched. classes: image_id -> its classes, by sorted name.

    By name, not by label: labels are numbered anew when a class is added.
    """

    gallery: frozenset[str]
    classes: pd.Series


def read_test_set(data: Path) -> TestSet:
    """Return what the splits, the catalog and the classes in the folder `data` say."""
    splits_file, catalog_file = data / "splits.parquet", data / "catalog.parquet"
    splits = tables.read_table(splits_file, tables.SPLITS).to_pandas()
    catalog = tables.read_table(catalog_file, tables.CATALOG)
    names = read_class_names(data / "classes.parquet")
    ids = splits.loc[splits["is_query"] | splits["is_gallery"], "image_id"]
    known_ids = catalog["image_id"].combine_chunks()
    rows = find_rows(ids, known_ids, ids_from=splits_file, table=catalog_file)
    labels = pd.Series(catalog["labels"].take(rows).to_pylist(), index=ids)
    return TestSet(
        gallery=frozenset(splits.loc[splits["is_gallery"], "image_id"]),
        classes=labels.map(lambda known: names_of(known, names)),
    )


def check_comparable(a: TestSet, b: TestSet) -> None:
    """Raise UserError unless both searched one gallery, and agree on what shows what.

    The fewer and the more different images are searched, the better any model looks.
    """
    lacking, further = len(a.gallery - b.gallery), len(b.gallery - a.gallery)
    if lacking or further:
        raise UserError(
            f"A and B: found two galleries, {lacking} images are in A's alone and {further} in "
            "B's; allowed: one gallery, or the figures mean different things; give both the same "
            "data, split and seed (train.seed draws another training alone)"
        )
    shared = a.classes.index.intersection(b.classes.index)
    differs = a.classes.loc[shared] != b.classes.loc[shared]
    if differs.any():
        first = shared[differs.to_numpy()][0]
        raise UserError(
            f"A and B: found other classes for {differs.sum()} images, the first is '{first}': "
            f"{_list(a.classes[first])} in A, {_list(b.classes[first])} in B; allowed: one catalog"
        )


def _list(names: tuple[str, ...]) -> str:
    return " + ".join(names)

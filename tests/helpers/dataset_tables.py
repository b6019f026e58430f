"""Small catalogs, classes and splits: a test gives the columns that it is about, no others."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.data.fingerprint import KEY as FINGERPRINT
from pipeline.data.tables import CATALOG, CLASSES, HEALTH, SPLITS, write_table


def build_catalog(
    labels: Mapping[str, Sequence[int]],
    *,
    groups: Sequence[str | None] | None = None,
    source_splits: Sequence[str | None] | None = None,
    side: int = 8,
) -> pa.Table:
    """Return the CATALOG table of square images, image_id -> labels, of `side` pixels."""
    ids, nothing = list(labels), [None] * len(labels)
    columns = {
        "image_id": ids,
        "labels": list(labels.values()),
        "group": nothing if groups is None else list(groups),
        "source_split": nothing if source_splits is None else list(source_splits),
        "path": ids,
        "width": [side] * len(ids),
        "height": [side] * len(ids),
    }
    return pa.table(columns, schema=pa.schema(CATALOG.columns))


def build_classes(names: Sequence[str]) -> pa.Table:
    """Return the CLASSES table of the classes `names`, by label, without groups."""
    columns = {"label": list(range(len(names))), "name": names, "group": [None] * len(names)}
    return pa.table(columns, schema=pa.schema(CLASSES.columns))


def build_splits(
    splits: Mapping[str, str],
    *,
    queries: Collection[str] | None = None,
    gallery: Collection[str] | None = None,
) -> pa.Table:
    """Return the SPLITS table of `splits`, image_id -> split.

    queries, gallery: image_ids; the test images by default.
    """
    test = {image_id for image_id, split in splits.items() if split == "test"}
    columns = {
        "image_id": list(splits),
        "split": list(splits.values()),
        "is_query": [each in (test if queries is None else queries) for each in splits],
        "is_gallery": [each in (test if gallery is None else gallery) for each in splits],
    }
    return pa.table(columns, schema=pa.schema(SPLITS.columns))


def build_health(
    ids: Sequence[str],
    *,
    exact: Collection[Sequence[str]] = (),
    near: Collection[Sequence[str]] = (),
    flat: Collection[str] = (),
    blurred: Collection[str] = (),
) -> pa.Table:
    """Return the HEALTH table of the images `ids`.

    exact, near: groups of duplicates. flat, blurred: those of one color, and those that are not
    sharp.
    """
    exact_group, near_group = (
        {image_id: min(group) for group in groups for image_id in group} for groups in (exact, near)
    )
    columns = {
        "image_id": list(ids),
        "pixels": [f"{exact_group.get(each, each):0>32}" for each in ids],
        "perceptual_hash": list(range(len(ids))),
        "color_range": [0 if each in flat else 200 for each in ids],
        "sharpness": [1.0 if each in (*blurred, *flat) else 900.0 for each in ids],
        "exact_group": [exact_group.get(each) for each in ids],
        "near_group": [near_group.get(each) for each in ids],
    }
    return pa.table(columns, schema=pa.schema(HEALTH.columns))


def write_dataset_tables(
    folder: Path,
    *,
    catalog: pa.Table | None = None,
    classes: pa.Table | None = None,
    splits: pa.Table | None = None,
    health: pa.Table | None = None,
) -> None:
    """Write those of the tables that are given to `folder`, by their usual names.

    The catalog has a fingerprint.
    """
    for table, kind in ((catalog, CATALOG), (classes, CLASSES), (splits, SPLITS), (health, HEALTH)):
        if table is not None:
            metadata = {FINGERPRINT: "0123456789abcdef"} if kind is CATALOG else None
            write_table(table, folder / f"{kind.name}.parquet", kind, metadata=metadata)

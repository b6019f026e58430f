"""The dataset at a glance: how many images and classes there are, and which were left out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.data.class_names import names_of
from pipeline.errors import UserError

SPLITS = ("train", "val", "test")
NAMED = 8  # rejected images that are named


@dataclass(frozen=True)
class SplitSummary:
    """One split: its images, and the classes that they have."""

    name: str
    images: int
    classes: int


@dataclass(frozen=True)
class Rejected:
    """Images that were left out: how many for each reason, and the path and reason of a few."""

    count: int
    reasons: list[tuple[str, int]]
    named: list[tuple[str, str]]


@dataclass(frozen=True)
class DatasetSummary:
    """What the page says of a dataset. `groups` is 0 where it has none.

    sizes: split -> class name -> images; an image of several classes counts for each.
    """

    images: int
    classes: int
    groups: int
    queries: int
    gallery: int
    parts: list[SplitSummary]
    rejected: Rejected
    sizes: Mapping[str, Mapping[str, int]]

    @property
    def totals(self) -> Counter[str]:
        """Class name -> images, of all splits."""
        return sum((Counter(sizes) for sizes in self.sizes.values()), Counter[str]())


def describe_dataset(
    known: pd.DataFrame, names: Mapping[int, str], splits: pd.DataFrame, rejected: Rejected
) -> DatasetSummary:
    """Return what there is, from CATALOG, label -> name, SPLITS and what was left out."""
    rows = known.merge(splits, on="image_id", validate="one_to_one")
    sizes = {
        split: Counter(
            name for labels in rows.loc[rows["split"] == split, "labels"]
            for name in names_of(labels, names)
        )
        for split in SPLITS
    }  # fmt: skip
    counts = rows["split"].value_counts()
    return DatasetSummary(
        images=len(rows),
        classes=len(set().union(*sizes.values())),
        groups=int(rows["group"].nunique()),
        queries=int(rows["is_query"].sum()),
        gallery=int(rows["is_gallery"].sum()),
        parts=[
            SplitSummary(split, int(counts.get(split, 0)), len(sizes[split])) for split in SPLITS
        ],
        rejected=rejected,
        sizes=sizes,
    )


def read_rejected(path: Path) -> Rejected:
    """Return what data/rejected.csv lists (path, reason), the most frequent reason first.

    Raises:
        UserError: the file is missing or has other columns.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage that writes it: dvc repro download")
    # An image may be called NA, and a reason may be empty.
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != ["path", "reason"]:
        raise UserError(
            f"{path}: found columns {', '.join(table.columns)}; allowed: path, reason; "
            "run: dvc repro download"
        )
    count = Counter(table["reason"])
    named = table[:NAMED]
    return Rejected(
        count=len(table),
        reasons=sorted(count.items(), key=lambda item: (-item[1], item[0])),
        named=list(zip(named["path"], named["reason"], strict=True)),
    )

"""The dataset at a glance: how many images and classes there are, and which were rejected."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.data.class_names import names_of
from pipeline.data.decoding import kind_of
from pipeline.errors import UserError
from pipeline.report.csv_files import read_csv

SPLIT_NAMES = ("train", "val", "test")
LISTED = 8  # rejected images that the page lists by path


@dataclass(frozen=True)
class SplitSummary:
    """One split, the number of its images, and of their classes."""

    name: str
    images: int
    classes: int


@dataclass(frozen=True)
class RejectedImages:
    """Images that were rejected: how many for each reason; `listed`: path and reason of a few."""

    count: int
    reasons: list[tuple[str, int]]
    listed: list[tuple[str, str]]


@dataclass(frozen=True)
class DatasetSummary:
    """The numbers of a dataset. `groups` is 0 if it has none.

    sizes: split -> class name -> images; an image of several classes counts for each.
    """

    images: int
    classes: int
    groups: int
    queries: int
    gallery: int
    splits: list[SplitSummary]
    rejected: RejectedImages
    sizes: Mapping[str, Mapping[str, int]]

    @property
    def totals(self) -> Counter[str]:
        """Class name -> images, of all splits."""
        return sum((Counter(sizes) for sizes in self.sizes.values()), Counter[str]())


def describe_dataset(
    catalog: pd.DataFrame,
    class_names: Mapping[int, str],
    splits: pd.DataFrame,
    rejected: RejectedImages,
) -> DatasetSummary:
    """Return the numbers of a dataset.

    catalog: CATALOG. class_names: label -> display name. splits: SPLITS.
    """
    images = catalog.merge(splits, on="image_id", validate="one_to_one")
    sizes = {
        split: Counter(
            name for labels in images.loc[images["split"] == split, "labels"]
            for name in names_of(labels, class_names)
        )
        for split in SPLIT_NAMES
    }  # fmt: skip
    counts = images["split"].value_counts()
    return DatasetSummary(
        images=len(images),
        classes=len(set().union(*sizes.values())),
        groups=int(images["group"].nunique()),
        queries=int(images["is_query"].sum()),
        gallery=int(images["is_gallery"].sum()),
        splits=[
            SplitSummary(split, int(counts.get(split, 0)), len(sizes[split]))
            for split in SPLIT_NAMES
        ],
        rejected=rejected,
        sizes=sizes,
    )


def read_rejected(path: Path) -> RejectedImages:
    """Return what data/rejected.csv (path, reason) lists, the most frequent reason first.

    Raises:
        UserError: the file is missing, damaged or has other columns.
    """
    table = read_csv(path, stage="download")
    if list(table.columns) != ["path", "reason"]:
        raise UserError(
            f"{path}: found columns {', '.join(table.columns)}; allowed: path, reason; "
            "run: dvc repro download"
        )
    count = Counter(map(kind_of, table["reason"]))
    listed = table[:LISTED]
    return RejectedImages(
        count=len(table),
        reasons=sorted(count.items(), key=lambda item: (-item[1], item[0])),
        listed=list(zip(listed["path"], listed["reason"], strict=True)),
    )

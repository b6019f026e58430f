"""The tables that training needs, joined: who is shown, under which label, and who validates."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.labels import LabelSets, label_sets
from pipeline.pictures import PackedPictures
from pipeline.schemas import CATALOG, SPLITS, TRIPLETS, read_table

# The k of the validation metrics: fixed, so that `evaluate.k`, which is for reports, never
# changes what is trained.
VALIDATION_K = (1, 5)


@dataclass(frozen=True)
class TrainingData:
    """train_labels: int32 [N], 0…C-1. val_labels: the label sets of `val_ids`; each validation
    picture is searched among the others. triplets: int64 [T, 3], rows of the training pictures.
    """

    pictures: PackedPictures
    train_ids: list[str]
    train_labels: NDArray[np.int32]
    val_ids: list[str]
    val_labels: LabelSets
    triplets: NDArray[np.int64]


def read_training_data(
    *, images: Path, catalog: Path, splits: Path, triplets: Path
) -> TrainingData:
    """Return the training and validation part of a dataset.

    Raises:
        UserError: a part is empty, or a table names a picture that another does not know.
    """
    known = read_table(catalog, CATALOG)
    row_of = {image_id: row for row, image_id in enumerate(known["image_id"].to_pylist())}
    labels = label_sets(known["labels"])
    parts = read_table(splits, SPLITS)
    train_ids, val_ids = (_part(parts, name, where=splits) for name in ("train", "val"))
    rows = {
        name: _rows(ids, row_of, where=splits)
        for name, ids in (("train", train_ids), ("val", val_ids))
    }
    val_labels = labels.take(rows["val"])
    _require_pairs(val_labels, where=splits)
    pictures = PackedPictures(images)
    pictures.require(train_ids + val_ids)
    _, train_labels = np.unique(labels.take(rows["train"]).first(), return_inverse=True)
    return TrainingData(
        pictures=pictures,
        train_ids=train_ids,
        train_labels=train_labels.astype(np.int32),
        val_ids=val_ids,
        val_labels=val_labels,
        triplets=_triplet_rows(read_table(triplets, TRIPLETS), train_ids, where=triplets),
    )


def _part(splits: pa.Table, name: str, *, where: Path) -> list[str]:
    ids = [
        image_id
        for image_id, split in zip(
            splits["image_id"].to_pylist(), splits["split"].to_pylist(), strict=True
        )
        if split == name
    ]
    if not ids:
        raise UserError(
            f"{where}: no picture is in split '{name}'; "
            "change split.protocol, split.val_by or split.val_fraction"
        )
    return ids


def _require_pairs(val_labels: LabelSets, *, where: Path) -> None:
    _, counts = np.unique(val_labels.values, return_counts=True)
    if counts.max() < 2 or len(val_labels) <= max(VALIDATION_K):
        raise UserError(
            f"{where}: found {len(val_labels)} validation pictures, at most {counts.max()} of a "
            f"class; allowed: more than {max(VALIDATION_K)}, two of a class; "
            "change split.val_by or split.val_fraction"
        )


def _rows(ids: list[str], row_of: dict[str, int], *, where: Path) -> NDArray[np.int64]:
    unknown = [image_id for image_id in ids if image_id not in row_of]
    if unknown:
        raise UserError(
            f"{where}: image_id '{unknown[0]}' (and {len(unknown) - 1} more) is not in the "
            "catalog; run: dvc repro"
        )
    return np.array([row_of[image_id] for image_id in ids], dtype=np.int64)


def _triplet_rows(triplets: pa.Table, train_ids: list[str], *, where: Path) -> NDArray[np.int64]:
    row_of = {image_id: row for row, image_id in enumerate(train_ids)}
    columns = [
        _rows(triplets[name].to_pylist(), row_of, where=where)
        for name in ("anchor", "positive", "negative")
    ]
    return np.stack(columns, axis=1)  # (T, 3)

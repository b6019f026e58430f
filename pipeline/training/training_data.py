"""The tables that training needs, joined: who is shown, under which label, and who validates."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.data.label_sets import LabelSets, label_sets
from pipeline.data.shards import PackedImages
from pipeline.data.tables import CATALOG, SPLITS, TRIPLETS, read_table
from pipeline.errors import UserError
from pipeline.index.relevance import find_relevance
from pipeline.splitting.validation_roles import validation_roles

# The k of the validation metrics: fixed, so that `evaluate.k`, which is for reports, never
# changes what is trained.
VALIDATION_K = (1, 5)


@dataclass(frozen=True)
class Validation:
    """V images that ask or are searched after each epoch. is_query, is_gallery: bool [V].

    Which these are is said by `validation_roles`; those that ask come first.
    """

    ids: list[str]
    labels: LabelSets
    is_query: NDArray[np.bool_]
    is_gallery: NDArray[np.bool_]


@dataclass(frozen=True)
class TrainingData:
    """N training images and the rest that training needs.

    train_labels: their N label sets, the C labels that occur numbered 0…C-1. triplets: int64
    [T, 3], rows of the training images.
    """

    images: PackedImages
    train_ids: list[str]
    train_labels: LabelSets
    val: Validation
    triplets: NDArray[np.int64]


def read_training_data(
    *, images: Path, catalog: Path, splits: Path, triplets: Path
) -> TrainingData:
    """Return the training and validation part of a dataset.

    Raises:
        UserError: a part is empty, or a table names an image that another does not know.
    """
    known = read_table(catalog, CATALOG)
    row_of = {image_id: row for row, image_id in enumerate(known["image_id"].to_pylist())}
    labels = label_sets(known["labels"])
    parts = read_table(splits, SPLITS)
    train_ids = _part(parts, "train", where=splits)
    train_labels = labels.take(_rows(train_ids, row_of, where=splits))
    val = _validation(parts, labels, row_of, where=splits)
    packed = PackedImages(images)
    packed.require(train_ids + val.ids)
    _, numbers = np.unique(train_labels.values, return_inverse=True)
    return TrainingData(
        images=packed,
        train_ids=train_ids,
        train_labels=LabelSets(train_labels.starts, numbers.astype(np.int32)),
        val=val,
        triplets=_triplet_rows(read_table(triplets, TRIPLETS), train_ids, where=triplets),
    )


def _part(splits: pa.Table, name: str, *, where: Path) -> list[str]:
    ids: list[str] = splits.filter(pc.equal(splits["split"], name))["image_id"].to_pylist()
    if not ids:
        raise UserError(
            f"{where}: no image is in split '{name}'; "
            "change split.protocol, split.val_by or split.val_fraction "
            "(of few images: random, image and 0.5)"
        )
    return ids


def _validation(
    splits: pa.Table, labels: LabelSets, row_of: dict[str, int], *, where: Path
) -> Validation:
    _part(splits, "val", where=where)  # there are some
    asks, searched = validation_roles(splits["split"].to_numpy(), splits["is_gallery"].to_numpy())
    rows = np.concatenate([np.flatnonzero(asks), np.flatnonzero(searched & ~asks)])
    ids: list[str] = splits["image_id"].to_numpy()[rows].tolist()
    of = labels.take(_rows(ids, row_of, where=where))
    _require_relevant(of, asks[rows], searched[rows], where=where)
    return Validation(ids, of, asks[rows], searched[rows])


def _require_relevant(
    labels: LabelSets, is_query: NDArray[np.bool_], is_gallery: NDArray[np.bool_], *, where: Path
) -> None:
    relevance = find_relevance(labels, is_query, is_gallery)
    queries, fewest = int(is_query.sum()), max(VALIDATION_K)
    if relevance.most_found < fewest or not relevance.pairs(0, queries).counts.any():
        raise UserError(
            f"{where}: found {queries} validation images to search among "
            f"{relevance.most_found} others; allowed: {fewest} others or more, and one of the "
            "same class; change split.val_by or split.val_fraction"
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

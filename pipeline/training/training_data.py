"""The tables that training needs, joined: the training images, their labels, the validation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.arrays import Ints, Mask, Vectors
from pipeline.data.joins import find_rows, read_labels
from pipeline.data.label_sets import LabelSets
from pipeline.data.packed_images import PackedImages
from pipeline.data.tables import SPLITS, TRIPLETS, read_table
from pipeline.data.tie_order import tie_order
from pipeline.errors import UserError
from pipeline.index.relevance import find_relevance
from pipeline.splitting.validation_roles import validation_roles
from pipeline.training.validation_metrics import VALIDATION_K


@dataclass(frozen=True)
class Validation:
    """V images, each a query, in the gallery or both, after each epoch, in `tie_order`.

    is_query, is_gallery: bool [V], by `validation_roles`. new_classes: whether no query has a class
    of a training image.
    """

    ids: list[str]
    labels: LabelSets
    is_query: Mask
    is_gallery: Mask
    new_classes: bool = False


@dataclass(frozen=True)
class Embedded:
    """The baseline's embeddings, on which a head alone is trained.

    train: float32 [N, F], of the training images. val: float32 [V, F], of the validation images.
    """

    train: Vectors
    val: Vectors


@dataclass(frozen=True)
class TrainingData:
    """N training images and what else training needs.

    train_labels: their N label sets, the C labels that occur numbered 0…C-1. triplets: int64
    [T, 3], rows of the training images. embedded: in place of the images, where it is given.
    """

    images: PackedImages
    train_ids: list[str]
    train_labels: LabelSets
    val: Validation
    triplets: Ints
    embedded: Embedded | None = None


def read_training_data(
    *, images: Path, catalog: Path, splits: Path, triplets: Path
) -> TrainingData:
    """Return the train and validation splits of a dataset.

    Raises:
        UserError: a split is empty, or a table names an image that another does not have.
    """
    table = read_table(splits, SPLITS)
    train_ids = _split(table, "train", where=splits)
    train_labels = read_labels(catalog, train_ids, ids_from=splits)
    val = _validation(table, catalog, train_labels, where=splits)
    packed = PackedImages(images)
    packed.require(train_ids + val.ids)
    _, numbers = np.unique(train_labels.values, return_inverse=True)
    return TrainingData(
        images=packed,
        train_ids=train_ids,
        train_labels=LabelSets(train_labels.starts, numbers.astype(np.int32)),
        val=val,
        triplets=_triplet_rows(triplets, train_ids, splits),
    )


def has_enough_to_train(splits: Path) -> bool:
    """Return whether a dataset has images to train and to validate with; `split` says why not."""
    return {"train", "val"} <= set(read_table(splits, SPLITS)["split"].to_pylist())


def _split(splits: pa.Table, name: str, *, where: Path) -> list[str]:
    ids: list[str] = splits.filter(pc.equal(splits["split"], name))["image_id"].to_pylist()
    if not ids:
        raise UserError(
            f"{where}: no image is in split '{name}'; "
            "change split.protocol, split.val_by or split.val_fraction "
            "(of few images: random, image and 0.5)"
        )
    return ids


def _validation(
    splits: pa.Table, catalog: Path, train_labels: LabelSets, *, where: Path
) -> Validation:
    _split(splits, "val", where=where)  # an error if it is empty
    is_query, is_gallery = validation_roles(
        splits["split"].to_numpy(), splits["is_gallery"].to_numpy()
    )
    rows = np.flatnonzero(is_query | is_gallery)
    rows = rows[tie_order(splits["image_id"].to_numpy()[rows])]
    ids: list[str] = splits["image_id"].to_numpy()[rows].tolist()
    labels = read_labels(catalog, ids, ids_from=where)
    _require_relevant(labels, is_query[rows], is_gallery[rows], where=where)
    of_queries = labels.take(np.flatnonzero(is_query[rows])).values
    new = not np.isin(of_queries, train_labels.values).any()
    return Validation(ids, labels, is_query[rows], is_gallery[rows], new_classes=new)


def _require_relevant(labels: LabelSets, is_query: Mask, is_gallery: Mask, *, where: Path) -> None:
    relevance = find_relevance(labels, is_query, is_gallery)
    queries, fewest = int(is_query.sum()), max(VALIDATION_K)
    if relevance.max_k < fewest or not relevance.pairs(0, queries).counts.any():
        raise UserError(
            f"{where}: found {queries} validation images to search among "
            f"{relevance.max_k} others; allowed: {fewest} others or more, and one of the "
            "same class; change split.val_by or split.val_fraction"
        )


def _triplet_rows(triplets: Path, train_ids: list[str], splits: Path) -> Ints:
    table = read_table(triplets, TRIPLETS)
    known_ids, known = pa.array(train_ids, pa.string()), f"the train split of {splits}"
    columns = [
        find_rows(table[name].combine_chunks(), known_ids, ids_from=triplets, table=known)
        for name in ("anchor", "positive", "negative")
    ]
    return np.stack(columns, axis=1)  # (T, 3)

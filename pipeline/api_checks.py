"""What pipeline/api.py is given, checked: what other programs pass is of any type and shape."""

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
from PIL import Image

from pipeline.data.arrays import Mask, Vectors
from pipeline.data.label_sets import LabelSets, from_lists
from pipeline.errors import UserError, name_choices

# As `mine` in params.yaml.
POSITIVES = ("easy", "hard", "random")
NEGATIVES = ("hard", "random", "semi_hard")
MOST_LABEL = 2**31 - 1  # a label set holds int32
NO_LIST = (str, bytes, Mapping, Set)  # of characters, or of any order


def check_name(argument: str, found: str, allowed: Iterable[str]) -> None:
    """Raise a UserError unless a name is one of those that are allowed."""
    if found not in tuple(allowed):
        raise UserError(f"{argument}: {name_choices(found, allowed)}")


def check_count(argument: str, found: Any, *, least: int = 1) -> None:
    """Raise a UserError unless a number is whole, and at least so large."""
    if not isinstance(found, Integral) or int(found) < least:
        raise UserError(
            f"{argument}: found {_show(found)}; allowed: a whole number from {least} on"
        )


def list_counts(argument: str, found: Any) -> list[int]:
    """Return whole numbers from 1 on, as a list; raise a UserError if they are not."""
    if not _is_list(found):
        raise UserError(
            f"{argument}: found {_show(found)}; allowed: a list of numbers, such as [1, 5]"
        )
    counts = [*found]
    for each in counts:
        check_count(argument, each)
    return [int(each) for each in counts]


def _is_whole(found: Any) -> bool:
    is_real = isinstance(found, Real | np.bool_)
    return isinstance(found, Integral) or (is_real and float(found).is_integer())


def _is_list(found: Any) -> bool:
    return isinstance(found, Iterable) and not isinstance(found, NO_LIST)


def _name_type(found: Any) -> str:
    return f"one of type {type(found).__name__}"


def _show(found: Any) -> str:
    return repr(found.item() if isinstance(found, np.generic) else found)


def to_vectors(argument: str, found: Any) -> Vectors:
    """Return float32 [N, D]; raise a UserError if they are not finite numbers of that shape."""
    array = _to_array(argument, found)
    if array.ndim != 2 or not array.shape[1]:
        raise UserError(
            f"{argument}: found an array of shape {array.shape}; allowed: [N, D], a row for each "
            "image; make a single vector one row: vector[None]"
        )
    with np.errstate(over="ignore"):  # it becomes infinite, which is told below
        vectors: Vectors = np.asarray(array, dtype=np.float32)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise UserError(
            f"{argument}: {len(broken)} of {len(vectors)} are not finite in float32, the first is "
            f"row {broken[0]}; allowed: finite numbers; leave these rows out"
        )
    return vectors


def _to_array(argument: str, found: Any) -> Any:
    try:
        array = np.asarray(found)
    except (TypeError, ValueError, RuntimeError):  # of numpy, or of a tensor that is not on the CPU
        kind = _name_type(found)
    else:
        if array.dtype.kind in "fiu":
            return array
        kind = f"an array of {array.dtype}"
    raise UserError(f"{argument}: found {kind}; allowed: an array of numbers, float32 [N, D]")


def to_vectors_of(index: faiss.Index, argument: str, found: Any) -> Vectors:
    """Return float32 [N, D], of the index's D; raise a UserError if they are not."""
    vectors = to_vectors(argument, found)
    if vectors.shape[1] != index.d:
        raise UserError(
            f"{argument}: found vectors of length {vectors.shape[1]}; allowed: {index.d}, as the "
            "index has; embed with the model that it was built of"
        )
    return vectors


def to_all_vectors_of(index: Any, found: Any) -> Vectors:
    """Return float32 [N, D], as many as the index has; raise a UserError if they are not."""
    if not isinstance(index, faiss.Index):
        raise UserError(
            f"index: found {_name_type(index)}; allowed: an index of faiss; of read_index, "
            "take the first of the two"
        )
    vectors = to_vectors_of(index, "vectors", found)
    if len(vectors) != index.ntotal:
        raise UserError(
            f"vectors: found {len(vectors)}; allowed: the {index.ntotal} that the index was built "
            "of, in its order"
        )
    return vectors


def to_mask(argument: str, found: Any, *, count: int) -> Mask:
    """Return bool [N], of None all; raise a UserError if it is not one for each of N vectors."""
    if found is None:
        return np.ones(count, dtype=bool)
    mask: Mask = np.asarray(found)
    if mask.shape != (count,) or mask.dtype != np.bool_:
        raise UserError(
            f"{argument}: found an array of {mask.dtype} of shape {mask.shape}; allowed: bool "
            f"({count},), one for each vector"
        )
    return mask


def to_label_sets(labels: Any, *, count: int) -> LabelSets:
    """Return the labels of N vectors; raise a UserError if they are not one or several of each."""
    of_images = labels.tolist() if hasattr(labels, "tolist") else labels
    if not _is_list(of_images):
        raise UserError(
            f"labels: found {_name_type(labels)}; allowed: a list, with a whole number or several "
            "for each vector"
        )
    of_images = [*of_images]
    if len(of_images) != count:
        raise UserError(
            f"labels: found {len(of_images)} for {count} vectors; allowed: as many; a list of "
            "several for an image that has several"
        )
    return from_lists([_list_labels(row, each) for row, each in enumerate(of_images)])


def _list_labels(row: int, found: Any) -> list[int]:
    found = found.tolist() if hasattr(found, "tolist") else found  # of numpy or torch
    several = isinstance(found, Iterable) and not isinstance(found, str | bytes | Mapping)
    labels = [*found] if several else [found]
    for each in labels:
        if not _is_whole(each) or not 0 <= each <= MOST_LABEL:
            allowed = f"whole numbers from 0 to {MOST_LABEL}; number the classes"
            raise UserError(f"labels: image {row} has {_show(each)}; allowed: {allowed}")
    if not labels:
        raise UserError(f"labels: image {row} has none; allowed: one or more; leave it out")
    return [int(each) for each in labels]


def list_images(images: Any) -> list[str | Path | bytes | Image.Image]:
    """Return images as a list; raise a UserError if it is one of them, or holds anything else."""
    one = str | Path | bytes | Image.Image
    if isinstance(images, one):
        raise UserError("images: found one, not a list of them; allowed: [photo]")
    if not _is_list(images):
        raise UserError(f"images: found {_name_type(images)}; allowed: a list of images")
    listed = [*images]
    for row, each in enumerate(listed):
        if not isinstance(each, one):
            raise UserError(
                f"image {row}: found {_name_type(each)}; allowed: a path, encoded bytes, or "
                "a PIL image; make one of an array by PIL.Image.fromarray"
            )
    return listed


def list_tables(argument: str, found: Any) -> list[pd.DataFrame]:
    """Return the tables of a side; raise a UserError if there is none, or one is not of queries."""
    if not _is_list(found):
        raise UserError(f"{argument}: found {_name_type(found)}; allowed: tables of pandas")
    tables = [found] if isinstance(found, pd.DataFrame) else [*found]
    if not tables:
        raise UserError(f"{argument}: found no table; allowed: one, or one for each training")
    for number, table in enumerate(tables):
        _check_table(f"{argument}: table {number}", table)
    return tables


def _check_table(where: str, table: Any) -> None:
    if not isinstance(table, pd.DataFrame):
        raise UserError(f"{where}: found {_name_type(table)}; allowed: a table of pandas")
    for name in ("image_id", "average_precision"):
        if name not in table:
            raise UserError(
                f"{where}: has no column {name}; allowed: a table such as "
                "results/<model>/queries.parquet"
            )
    repeated = table.loc[table["image_id"].duplicated(), "image_id"]
    if len(repeated):
        raise UserError(
            f"{where}: has image_id '{repeated.iloc[0]}' more than once; allowed: a row for each "
            "query"
        )
    for name in table.columns.drop("image_id"):
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise UserError(
                f"{where}: column {name} is of type {table[name].dtype}; allowed: numbers; drop it"
            )
    if len(table) and table["average_precision"].isna().all():
        raise UserError(f"{where}: has no value of average_precision; allowed: one or more")


def check_classes(class_of: Any, tables: Sequence[pd.DataFrame]) -> None:
    """Raise a UserError unless there are classes, as a tuple, of the queries that all have."""
    if not isinstance(class_of, pd.Series):
        found = _name_type(class_of)
        raise UserError(f"class_of: found {found}; allowed: a pandas.Series by image_id")
    of_all = set.intersection(*(set(table["image_id"]) for table in tables))
    shared = [each for each in tables[0]["image_id"] if each in of_all]
    without = [each for each in shared if each not in class_of.index]
    if without:
        raise UserError(
            f"class_of: {len(without)} of {len(shared)} queries have no class, the first is "
            f"'{without[0]}'; allowed: one for each"
        )
    if class_of.index.has_duplicates:
        repeated = class_of.index[class_of.index.duplicated()][0]
        raise UserError(f"class_of: has '{repeated}' more than once; allowed: once")
    for image_id, classes in class_of.loc[shared].items():
        if isinstance(classes, str) or not isinstance(classes, Iterable):
            raise UserError(
                f"class_of: '{image_id}' has {classes!r}; allowed: a tuple of classes, such as "
                f"({classes!r},)"
            )

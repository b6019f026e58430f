"""Tables are joined by image_id, never by position."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.data.arrays import Ids, Ints, Mask, Vectors
from pipeline.data.embeddings import iterate_buckets, read_lineage, require_embeddings
from pipeline.data.label_sets import LabelSets, label_sets
from pipeline.data.lineage import Lineage
from pipeline.data.tables import CATALOG, SPLITS, read_table
from pipeline.data.tie_order import tie_order
from pipeline.errors import UserError


@dataclass(frozen=True)
class EmbeddedSplit:
    """N embedded images in `tie_order`, so that of two whose scores tie the lower row is first.

    vectors: float32 [N, D]. split: train, val or test, [N]. is_query, is_gallery: bool [N].
    lineage: how the vectors were made, None if their file does not say. path: their file.
    """

    ids: NDArray[np.object_]
    vectors: Vectors
    split: NDArray[np.object_]
    is_query: Mask
    is_gallery: Mask
    lineage: Lineage | None = None
    path: Path = Path("embeddings")


def read_embedded_split(embeddings: Path, splits: Path) -> EmbeddedSplit:
    """Return the embeddings of the images of `splits`, in `tie_order`.

    Raises:
        UserError: a file cannot be read, only labels were packed, or the two do not hold the same
            image_ids.
    """
    table = read_table(splits, SPLITS)
    ids, vectors = require_embeddings(embeddings)
    split_ids = table["image_id"].combine_chunks()
    rows = find_rows(split_ids, pa.array(ids, pa.string()), ids_from=splits, table=embeddings)
    find_rows(ids, split_ids, ids_from=embeddings, table=splits)  # none may be left over
    order = tie_order(split_ids.to_pylist())
    return EmbeddedSplit(
        ids=split_ids.to_numpy(zero_copy_only=False)[order],
        vectors=take_rows(vectors, rows[order]),
        split=table["split"].to_numpy()[order],
        is_query=table["is_query"].to_numpy()[order],
        is_gallery=table["is_gallery"].to_numpy()[order],
        lineage=read_lineage(embeddings),
        path=embeddings,
    )


def take_rows(vectors: Vectors, rows: Ints) -> Vectors:
    """Return vectors[rows], without a copy where that is what they are."""
    return vectors if np.array_equal(rows, np.arange(len(vectors))) else vectors[rows]


def read_vectors_of(embeddings: Path, ids: Ids, *, ids_from: Path) -> Vectors:
    """Return float32 [N, D], the embeddings of `ids`, in their order; a bucket is read at a time.

    ids_from: the file of the ids, for the error text.

    Raises:
        UserError: the table cannot be read or does not have one of the ids.
    """
    wanted = pa.array(ids, pa.string())
    known: list[str] = []
    parts = [np.empty((0, 0), np.float32)]
    for its_ids, vectors in iterate_buckets(embeddings):
        rows = pc.is_in(pa.array(its_ids, pa.string()), value_set=wanted).to_numpy(False)
        known += [image_id for image_id, is_wanted in zip(its_ids, rows, strict=True) if is_wanted]
        parts.append(vectors[rows])
    found = np.concatenate(parts[1:] or parts)
    rows_of = find_rows(wanted, pa.array(known, pa.string()), ids_from=ids_from, table=embeddings)
    return take_rows(found, rows_of)


def read_labels(catalog: Path, ids: Ids, *, ids_from: Path) -> LabelSets:
    """Return the label sets of `ids`, in their order.

    ids_from: the file of the ids, for the error text.

    Raises:
        UserError: the catalog cannot be read or does not have one of the ids.
    """
    table = read_table(catalog, CATALOG)
    rows = find_rows(ids, table["image_id"].combine_chunks(), ids_from=ids_from, table=catalog)
    return label_sets(table["labels"].take(pa.array(rows)))


def find_rows(
    ids: Ids | pa.Array, table_ids: pa.Array, *, ids_from: Path, table: Path | str
) -> Ints:
    """Return int64 [N]: the row of each of `ids` in `table_ids`.

    ids_from: the file of `ids`, table: what holds `table_ids`, both for the error text.

    Raises:
        UserError: one of `ids` has no row.
    """
    ids = pa.array(ids, pa.string())
    found = pc.index_in(ids, value_set=table_ids)
    if found.null_count:
        first = ids.filter(pc.is_null(found))[0].as_py()
        raise UserError(
            f"{ids_from}: {found.null_count} of {len(ids)} image_ids are not in {table}, the first "
            f"is '{first}'; both must come from one run: dvc repro"
        )
    rows: Ints = found.to_numpy().astype(np.int64)
    return rows


class RowLookup:
    """Rows of a table by image_id, one at a time; `find_rows` finds many at once."""

    def __init__(self, ids: Iterable[str], *, table: Path) -> None:
        """table: the file or folder of the ids, for the error text."""
        self._row_of_id = {image_id: row for row, image_id in enumerate(ids)}
        self._table = table

    def find(self, image_id: str) -> int:
        """Return the row of an image.

        Raises:
            UserError: it has none.
        """
        row = self._row_of_id.get(image_id)
        if row is None:
            raise UserError(f"{self._table}: no image has image_id '{image_id}'; run: dvc repro")
        return row

    def get(self, image_id: str) -> int | None:
        """Return the row of an image, None where it has none."""
        return self._row_of_id.get(image_id)

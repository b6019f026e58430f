"""Tables brought together by image_id, never by position."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.data.arrays import Ids
from pipeline.data.embeddings import read_embeddings
from pipeline.data.label_sets import LabelSets, label_sets
from pipeline.data.tables import CATALOG, SPLITS, read_table
from pipeline.errors import UserError


@dataclass(frozen=True)
class EmbeddedSplit:
    """N embedded images in the order of the splits.

    vectors: float32 [N, D]. split: of each, train, val or test. is_query, is_gallery: bool [N].
    """

    ids: NDArray[np.object_]
    vectors: NDArray[np.float32]
    split: NDArray[np.object_]
    is_query: NDArray[np.bool_]
    is_gallery: NDArray[np.bool_]


def read_embedded_split(embeddings: Path, splits: Path) -> EmbeddedSplit:
    """Return the embeddings of the images of `splits`, in its order.

    Raises:
        UserError: a file cannot be read, only labels were packed, or the two do not hold the same
            image_ids.
    """
    table = read_table(splits, SPLITS)
    ids, vectors = read_embeddings(embeddings)
    if not ids:
        raise UserError(
            f"{embeddings}: holds no vectors, because no images were packed, only their labels; "
            "allowed here: vectors; set data.coco.images: true"
        )
    wanted = table["image_id"].combine_chunks()
    rows = find_rows(wanted, pa.array(ids, pa.string()), asked=splits, known=embeddings)
    find_rows(ids, wanted, asked=embeddings, known=splits)
    return EmbeddedSplit(
        ids=wanted.to_numpy(zero_copy_only=False),
        vectors=vectors[rows],
        split=table["split"].to_numpy(),
        is_query=table["is_query"].to_numpy(),
        is_gallery=table["is_gallery"].to_numpy(),
    )


def read_labels(
    catalog: Path, ids: Sequence[str] | NDArray[np.object_], *, asked: Path
) -> LabelSets:
    """Return the label sets of `ids`, which come from the table `asked`, in their order.

    Raises:
        UserError: the catalog cannot be read or does not know one of the ids.
    """
    table = read_table(catalog, CATALOG)
    known = table["image_id"].combine_chunks()
    rows = find_rows(ids, known, asked=asked, known=catalog)
    return label_sets(table["labels"].take(pa.array(rows)))


def find_rows(
    ids: Ids | pa.Array,
    known_ids: pa.Array,
    *,
    asked: Path,
    known: Path | str,
) -> NDArray[np.int64]:
    """Return int64 [N]: where each of the table `asked`'s ids stands in the table `known`.

    Raises:
        UserError: one is unknown there.
    """
    ids = pa.array(ids, pa.string())
    found = pc.index_in(ids, value_set=known_ids)
    if found.null_count:
        first = ids.filter(pc.is_null(found))[0].as_py()
        raise UserError(
            f"{asked}: {found.null_count} of {len(ids)} image_ids are not in {known}, the first is "
            f"'{first}'; both must come from one run: dvc repro"
        )
    rows: NDArray[np.int64] = found.to_numpy().astype(np.int64)
    return rows

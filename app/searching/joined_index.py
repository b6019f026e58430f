"""The index of the images with labels and that of the added ones, searched as one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import faiss
import numpy as np

from pipeline.data.arrays import Ints, Mask, Vectors
from pipeline.data.joins import RowLookup
from pipeline.errors import UserError
from pipeline.index.build import distance_of, read_index
from pipeline.index.combined_queries import SAMPLE, PartsError
from pipeline.index.filtered_search import filtered_search
from pipeline.index.search import Neighbors
from pipeline.index.stored_vectors import StoredVectors, keeps_vectors


@dataclass(frozen=True)
class _Part:
    """An index, and the image_id of each of its rows."""

    index: faiss.Index
    ids: list[str]


class JoinedIndex:
    """Indexes of the same kind of vectors, as of one. Many threads may search at a time.

    Attributes:
        ids: image_id of each row, those of the first folder first.
        distance: cosine or euclidean, as the indexes were built for.

    Raises:
        UserError: a file is missing or damaged, or there are no images.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._parts = [_Part(*read_index(folder)) for folder in folders]
        self.ids = [image_id for part in self._parts for image_id in part.ids]
        if not self.ids:
            raise UserError(f"{folders[0]}: holds no images; run: dvc repro index")
        self.distance = distance_of(self._parts[0].index)
        self._rows = RowLookup(self.ids, table=folders[0])
        self._opening = Lock()

    @property
    def kind(self) -> str:
        """The faiss class of the first index."""
        return type(self._parts[0].index).__name__

    @property
    def dims(self) -> list[int]:
        """The numbers of a vector, of each index."""
        return [part.index.d for part in self._parts]

    def find_row(self, image_id: str | None) -> int | None:
        """Return the row of an image; None where it has none."""
        return None if image_id is None else self._rows.get(image_id)

    def mask_without(self, image_ids: Collection[str]) -> Mask:
        """Return bool [N], the rows but for those of some images."""
        kept = np.ones(len(self.ids), bool)
        for row in map(self._rows.get, image_ids):
            if row is not None:
                kept[row] = False
        return kept

    def find(
        self,
        query: Vectors,
        k: int,
        allowed: Mask | None,
        own_row: int | None,
        needed: int | None = None,
    ) -> Neighbors:
        """Return the k nearest: rows of `ids`, int64 [n], and their scores, best first.

        query: float32 [d], prepared. allowed: bool [N]. own_row: the query's, which is left out.
        needed: as in `filtered_search`.
        """
        found, first = [], 0
        for part in self._parts:
            rows = slice(first, first + len(part.ids))
            nearest = filtered_search(
                part.index,
                query,
                k,
                distance=self.distance,
                allowed=None if allowed is None else allowed[rows],
                own_row=_row_within(own_row, rows),
                needed=needed,
            )
            found.append(Neighbors(nearest.rows + first, nearest.scores))
            first = rows.stop
        scores = np.concatenate([each.scores for each in found])
        order = np.argsort(-scores, kind="stable")[:k]
        return Neighbors(np.concatenate([each.rows for each in found])[order], scores[order])

    def read(self, rows: Ints) -> Vectors:
        """Return float32 [n, d], the vectors in the index of int64 [n] rows.

        Raises:
            PartsError: the index does not keep them.
        """
        vectors, first = np.empty((len(rows), self.dims[0]), np.float32), 0
        for part, stored in zip(self._parts, self.stored, strict=True):
            here = (rows >= first) & (rows < first + len(part.ids))
            if here.any():
                vectors[here] = stored.read(rows[here] - first)
            first += len(part.ids)
        return vectors

    @property
    def keeps_vectors(self) -> bool:
        """Whether vectors can be read from the index."""
        return all(keeps_vectors(part.index) for part in self._parts)

    @property
    def stored(self) -> list[StoredVectors]:
        """The vectors of each index; of some kinds the first call takes a second for a million."""
        with self._opening:  # it changes the index
            return self._stored

    @cached_property
    def _stored(self) -> list[StoredVectors]:
        if not self.keeps_vectors:
            raise PartsError(
                f"{self._folders[0]}: keeps no vectors, which a query of several parts is weighed "
                "by; allowed: one image or text, or another index.factory, such as auto"
            )
        return [StoredVectors(part.index) for part in self._parts]

    @cached_property
    def sample(self) -> Vectors:
        """float32 [n, d]: SAMPLE vectors of the index, evenly taken; all where it has fewer."""
        count = min(SAMPLE, len(self.ids))
        return self.read(np.linspace(0, len(self.ids) - 1, count).astype(np.int64))


def _row_within(row: int | None, rows: slice) -> int | None:
    """Return where `row` is in a slice of rows, None where it is not."""
    return row - rows.start if row is not None and rows.start <= row < rows.stop else None

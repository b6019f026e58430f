"""How thoroughly an index searches: as much as it must to find a share of the exact neighbors."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from pipeline.data.arrays import Ints, Vectors
from pipeline.index.build import FAISS_METRICS
from pipeline.index.centring import strip_centring
from pipeline.index.distances import prepare_vectors
from pipeline.index.search import index_recall

K = 10  # the neighbors that are to be found
MOST_QUERIES = 1000
MOST_REFINED, MOST_NODES = 64, 2048
BLOCK = 65_536

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Knob:
    """A number that an index searches by, from 1 to `most`: an attribute of a part of it."""

    owner: Any
    name: str
    most: int

    @property
    def value(self) -> int:
        """Its value now."""
        return int(getattr(self.owner, self.name))

    def set(self, value: int) -> None:
        """Let the index search by `value`."""
        setattr(self.owner, self.name, value)


def find_effort(index: faiss.Index) -> list[Knob]:
    """Return what can be chosen of an index; nothing where it is searched in one way alone.

    First the lists or nodes that are looked at, then how many times K results by codes are ranked
    again by the exact vectors.
    """
    inner: Any = strip_centring(index)[0]
    refined = []
    while True:
        inner = faiss.downcast_index(inner)
        if isinstance(inner, faiss.IndexPreTransform):
            inner = inner.index
        elif isinstance(inner, faiss.IndexRefine):
            refined = [Knob(inner, "k_factor", MOST_REFINED)]
            inner = inner.base_index
        else:
            break
    if isinstance(inner, faiss.IndexIVF):
        return [Knob(inner, "nprobe", inner.nlist), *refined]
    if isinstance(inner, faiss.IndexHNSW):
        return [Knob(inner.hnsw, "efSearch", min(index.ntotal, MOST_NODES)), *refined]
    return refined


def is_exact(index: faiss.Index) -> bool:
    """Return whether an index compares each query with all vectors as they are."""
    return isinstance(strip_centring(index)[0], faiss.IndexFlat)


def choose_effort(
    index: faiss.Index, vectors: Vectors, queries: Ints, *, distance: str, recall: float
) -> float | None:
    """Let the index search as little as it can to find `recall` of the K exact neighbors.

    Return the recall that it reaches, with a warning where that is less; None where the index is
    exact. What is chosen is kept in the index, and so in its file.

    vectors: float32 [N, D], of the index's rows. queries: int64 [Q], those that it is chosen by.
    """
    if is_exact(index) or not len(queries) or index.ntotal <= K:
        return None
    effort = find_effort(index)
    query_vectors = prepare_vectors(vectors[queries], distance=distance)
    exact = _find_exact(vectors, query_vectors, queries, distance=distance)

    def measure() -> float:
        found = index.search(query_vectors, K + 1)[1]
        own = found == queries[:, None]
        # Its own image is left out; where it is not found, the last one.
        own[~own.any(axis=1), -1] = True
        rows = found[~own].reshape(len(queries), K)
        return _recall(rows, exact, vectors, query_vectors, distance=distance)

    for knob in effort[1:]:
        knob.set(knob.most)
    reached = measure() if not effort else 0.0
    for knob in effort:
        # The first as far as it must; the next are lowered as far as that is not lost.
        reached = _raise_until(knob, measure, recall if knob is effort[0] else min(recall, reached))
    logger.info("%.3f of the %d nearest are found", reached, K)
    if reached < recall:
        logger.warning(
            "index.recall: %.3f of the %d nearest are found with all that this index can do; "
            "asked: %s; allowed: less, or another index.factory",
            *(reached, K, recall),
        )
    return reached


def _raise_until(knob: Knob, measure: Callable[[], float], wanted: float) -> float:
    """Set a number to the first power of 2 by which `wanted` is reached; return what is."""
    value = 1
    while True:
        knob.set(min(value, knob.most))
        reached = measure()
        if reached >= wanted or value >= knob.most:
            return reached
        value *= 2


def _find_exact(vectors: Vectors, query_vectors: Vectors, queries: Ints, *, distance: str) -> Ints:
    """Return int64 [Q, K], the nearest rows of each query but itself, nearest first."""
    rows, scores = (
        np.empty((len(query_vectors), 0), np.int64),
        np.empty((len(query_vectors), 0), np.float32),
    )
    for start in range(0, len(vectors), BLOCK):
        block = prepare_vectors(vectors[start : start + BLOCK], distance=distance)
        count = min(K + 1, len(block))
        found, nearest = faiss.knn(query_vectors, block, count, metric=FAISS_METRICS[distance])
        nearer = found if distance == "cosine" else -found
        rows, scores = np.hstack([rows, nearest + start]), np.hstack([scores, nearer])
        scores[rows == queries[:, None]] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, : K + 1]
        rows = np.take_along_axis(rows, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
    return rows[:, :K]


def _recall(
    found: Ints, exact: Ints, vectors: Vectors, query_vectors: Vectors, *, distance: str
) -> float:
    """Return the mean `index_recall`, for which the vectors of these rows alone are prepared."""
    rows, places = np.unique(np.hstack([found, exact]), return_inverse=True)
    some = prepare_vectors(vectors[rows], distance=distance)
    places = places.reshape(len(query_vectors), 2 * K)
    of_found, of_exact = places[:, :K].copy(), places[:, K:].copy()
    of_found[found < 0] = -1
    recalls = index_recall(
        of_found, of_exact, K, gallery=some, queries=query_vectors, distance=distance
    )
    return float(recalls.mean())

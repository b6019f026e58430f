"""The slow oracle of ranking, metrics and mining: plain Python, one image at a time.

The scores of the vectors of `cases` are exact in float32, so that equal scores are ties.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from pipeline.data.label_sets import LabelSets, from_lists
from pipeline.index.distances import prepare_vectors
from pipeline.index.reranking import rerank


@dataclass
class Case:
    """N images: vectors float32 [N, 4], label lists; is_query, is_gallery: bool [N].

    neighbors: by which a ranking is re-ranked, whose oracle is in test_reranking.py; 0 for none.
    """

    vectors: np.ndarray
    lists: list[list[int]]
    is_query: np.ndarray
    is_gallery: np.ndarray
    distance: str
    neighbors: int = 0

    @property
    def labels(self) -> LabelSets:
        return from_lists(self.lists)

    @property
    def queries(self) -> list[int]:
        return [i for i, is_query in enumerate(self.is_query) if is_query]

    @property
    def gallery(self) -> list[int]:
        return [i for i, in_gallery in enumerate(self.is_gallery) if in_gallery]

    def shared(self, a: int, b: int) -> int:
        return len(set(self.lists[a]) & set(self.lists[b]))

    def score(self, a: int, b: int) -> float:
        x, y = self.vectors[a].tolist(), self.vectors[b].tolist()
        if self.distance == "euclidean":
            squares = sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
            return -float(np.float32(math.sqrt(squares)))
        return sum(p * q for p, q in zip(x, y, strict=True)) / 4

    def ranking(self, query: int) -> list[int]:
        """Return the gallery images, nearest first, without the query."""
        others = [g for g in self.gallery if g != query]
        ranking = sorted(others, key=lambda g: (-self.score(query, g), g))
        if not self.neighbors:
            return ranking
        prepared = prepare_vectors(self.vectors, distance=self.distance)
        order = rerank(prepared[query], prepared[ranking], self.neighbors)
        return [ranking[place] for place in order]

    def hits(self, query: int) -> list[tuple[int, int]]:
        """Return (rank, gain) of each relevant image."""
        return [
            (rank, self.shared(query, g))
            for rank, g in enumerate(self.ranking(query), start=1)
            if self.shared(query, g)
        ]

    def class_hits(self, query: int, label: int) -> list[int]:
        """Return the rank of each image that has this label."""
        return [
            rank for rank, g in enumerate(self.ranking(query), start=1) if label in self.lists[g]
        ]

    def class_queries(self, label: int) -> list[int]:
        """Return the queries that have this label in common with another gallery image."""
        return [q for q in self.queries if label in self.lists[q] and self.class_hits(q, label)]


@st.composite
def cases(draw: st.DrawFn, most: int = 24) -> Case:
    """Sample a case. Vectors of +-1 have length 2, so that even the cosine is exact; many tie."""
    n = draw(st.integers(2, most))
    sign = st.sampled_from([-1.0, 1.0])
    rows = draw(st.lists(st.lists(sign, min_size=4, max_size=4), min_size=n, max_size=n))
    label = st.integers(0, draw(st.integers(0, 6)))
    lists = draw(st.lists(st.lists(label, min_size=1, max_size=3), min_size=n, max_size=n))
    roles = st.lists(st.booleans(), min_size=n, max_size=n)
    distance = draw(st.sampled_from(["cosine", "euclidean"]))
    all_images = draw(st.booleans())
    is_query, is_gallery = (
        np.ones(n, dtype=bool) if all_images else np.array(draw(roles)) for _ in range(2)
    )
    return Case(np.array(rows, dtype=np.float32), lists, is_query, is_gallery, distance)


def vote(case: Case, query: int, k: int) -> float:
    """Return 1 if the k nearest vote for a label of the query, else 0; between, of several."""
    nearest = case.ranking(query)[:k]
    votes = Counter(label for g in nearest for label in set(case.lists[g]))
    closest = {
        label: min(place for place, g in enumerate(nearest) if label in case.lists[g])
        for label in votes
    }
    first = min((-votes[label], closest[label]) for label in votes)
    winners = [label for label in votes if (-votes[label], closest[label]) == first]
    return sum(label in case.lists[query] for label in winners) / len(winners)


def dcg(gains: list[tuple[int, int]], k: int) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in gains if rank <= k)


def naive_metrics(case: Case, query: int, *, k: int, knn: int) -> dict[str, float]:
    """Return every column of one query, by the definitions."""
    ranking, hits = case.ranking(query), case.hits(query)
    relevant = [case.shared(query, g) > 0 for g in ranking]
    total = sum(relevant)
    ideal = list(enumerate(sorted((gain for _, gain in hits), reverse=True), start=1))

    def precision(rank: int) -> float:
        return sum(relevant[:rank]) / rank

    at_hits = [(rank, precision(rank)) for rank, _ in hits]
    return {
        f"recall_at_{k}": float(any(relevant[:k])),
        f"precision_at_{k}": precision(k),
        f"ndcg_at_{k}": dcg(hits, k) / dcg(ideal, k),
        "average_precision": sum(p for _, p in at_hits) / total,
        "average_precision_at_r": sum(p for rank, p in at_hits if rank <= total) / total,
        "r_precision": precision(total),
        "reciprocal_rank": 1 / hits[0][0],
        "knn_correct": vote(case, query, knn),
    }


def naive_class(case: Case, label: int, *, k: int, knn: int) -> dict[str, float]:
    """Return the row of one class, by the definitions."""
    queries = case.class_queries(label)
    hits = [case.class_hits(query, label) for query in queries]
    precision = [
        sum(place / rank for place, rank in enumerate(ranks, start=1)) / len(ranks)
        for ranks in hits
    ]
    return {
        "label": label,
        "queries": len(queries),
        "map": sum(precision) / len(queries),
        f"recall_at_{k}": sum(ranks[0] <= k for ranks in hits) / len(queries),
        "knn_accuracy": sum(vote(case, query, knn) for query in queries) / len(queries),
    }


def naive_interpolated(ranks: list[int], recall: float) -> float:
    return max(
        place / rank
        for place, rank in enumerate(ranks, start=1)
        if place / len(ranks) >= recall - 1e-9
    )

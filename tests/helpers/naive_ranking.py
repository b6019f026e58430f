"""The slow oracle of ranking, metrics and mining: plain Python, one image at a time.

Vectors that are drawn here have scores that float32 holds exactly, so that ties are ties.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from pipeline.data.label_sets import LabelSets, from_lists


@dataclass
class Case:
    """N images: vectors float32 [N, 4], their label lists, who asks and who is searched."""

    vectors: np.ndarray
    lists: list[list[int]]
    is_query: np.ndarray
    is_gallery: np.ndarray
    distance: str

    @property
    def labels(self) -> LabelSets:
        return from_lists(self.lists)

    @property
    def queries(self) -> list[int]:
        return [i for i, asks in enumerate(self.is_query) if asks]

    @property
    def gallery(self) -> list[int]:
        return [i for i, there in enumerate(self.is_gallery) if there]

    def shared(self, a: int, b: int) -> int:
        return len(set(self.lists[a]) & set(self.lists[b]))

    def score(self, a: int, b: int) -> float:
        x, y = self.vectors[a].tolist(), self.vectors[b].tolist()
        if self.distance == "euclidean":
            squares = sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
            return -float(np.float32(math.sqrt(squares)))
        return sum(p * q for p, q in zip(x, y, strict=True)) / 4

    def ranking(self, query: int) -> list[int]:
        """Return the gallery images in the order of the ranking, without the query."""
        others = [g for g in self.gallery if g != query]
        return sorted(others, key=lambda g: (-self.score(query, g), g))

    def hits(self, query: int) -> list[tuple[int, int]]:
        """Return (rank, gain) of each relevant image."""
        return [
            (rank, self.shared(query, g))
            for rank, g in enumerate(self.ranking(query), start=1)
            if self.shared(query, g)
        ]

    def hits_of(self, query: int, label: int) -> list[int]:
        """Return the rank of each image that has this label."""
        return [
            rank for rank, g in enumerate(self.ranking(query), start=1) if label in self.lists[g]
        ]

    def asking(self, label: int) -> list[int]:
        """Return the queries that have this label, as another gallery image does."""
        return [q for q in self.queries if label in self.lists[q] and self.hits_of(q, label)]


@st.composite
def cases(draw: st.DrawFn, most: int = 24) -> Case:
    """Draw a case; +-1 vectors have length 2, so that even the cosine is exact, and tie often."""
    n = draw(st.integers(2, most))
    sign = st.sampled_from([-1.0, 1.0])
    rows = draw(st.lists(st.lists(sign, min_size=4, max_size=4), min_size=n, max_size=n))
    label = st.integers(0, draw(st.integers(0, 6)))
    lists = draw(st.lists(st.lists(label, min_size=1, max_size=3), min_size=n, max_size=n))
    roles = st.lists(st.booleans(), min_size=n, max_size=n)
    distance = draw(st.sampled_from(["cosine", "euclidean"]))
    everyone = draw(st.booleans())
    is_query, is_gallery = (
        np.ones(n, dtype=bool) if everyone else np.array(draw(roles)) for _ in range(2)
    )
    return Case(np.array(rows, dtype=np.float32), lists, is_query, is_gallery, distance)


def vote(case: Case, query: int, k: int) -> float:
    """Return 1 where the k nearest vote for a label of the query, else 0."""
    nearest = case.ranking(query)[:k]
    votes = Counter(label for g in nearest for label in set(case.lists[g]))
    closest = {
        label: min(place for place, g in enumerate(nearest) if label in case.lists[g])
        for label in votes
    }
    winner = min(votes, key=lambda label: (-votes[label], closest[label], label))
    return float(winner in case.lists[query])


def dcg(gains: list[tuple[int, int]], k: int) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in gains if rank <= k)


def naive_metrics(case: Case, query: int, *, k: int, knn: int) -> dict[str, float]:
    """Return every column of one query, straight from the definitions."""
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
    """Return the row of one class that is asked for, straight from the definitions."""
    asking = case.asking(label)
    found = [case.hits_of(query, label) for query in asking]
    precision = [
        sum(place / rank for place, rank in enumerate(ranks, start=1)) / len(ranks)
        for ranks in found
    ]
    return {
        "label": label,
        "queries": len(asking),
        "map": sum(precision) / len(asking),
        f"recall_at_{k}": sum(ranks[0] <= k for ranks in found) / len(asking),
        "knn_accuracy": sum(vote(case, query, knn) for query in asking) / len(asking),
    }


def naive_interpolated(ranks: list[int], recall: float) -> float:
    return max(
        place / rank
        for place, rank in enumerate(ranks, start=1)
        if place / len(ranks) >= recall - 1e-9
    )

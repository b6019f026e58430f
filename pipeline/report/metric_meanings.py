"""What each metric is, in a sentence."""

import re
from collections.abc import Iterable

# What is relevant to a query, and that it never finds itself, the page says once.
MEANINGS = {
    "recall_at_k": "share of queries with a relevant image among the first k",
    "precision_at_k": "share of relevant images among the first k",
    "ndcg_at_k": "the gain of the first k (the labels that each shares with the query, by the "
    "logarithm of its rank) over the best that was possible",
    "map": "mean average precision: the precision at the rank of each relevant image, averaged "
    "over all of them",
    "map_at_r": "the same over the first R images alone, where R are relevant to the query",
    "r_precision": "share of relevant images among the first R, where R are relevant",
    "mrr": "mean of 1 / the rank of the first relevant image",
    "knn_accuracy": "share of queries that have the label for which most of their knn_k nearest "
    "images vote; validation chooses knn_k",
    "triplet_accuracy": "share of drawn triplets whose positive is closer to the query than their "
    "negative",
    "cosine_positive": "mean cosine similarity of a query and a relevant image",
    "cosine_negative": "mean cosine similarity of a query and another image",
    "index_recall_at_k": "share of the true k nearest images that the index finds",
    "macro_map": "map as a mean over classes instead of queries",
    "macro_knn_accuracy": "knn_accuracy as a mean over classes instead of queries",
}


def meanings_of(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, meaning) of the metrics whose meaning is known, once for all k.

    >>> [name for name, _ in meanings_of(["recall_at_1", "recall_at_10", "mrr", "else"])]
    ['recall_at_k', 'mrr']
    """
    families = dict.fromkeys(re.sub(r"_at_\d+$", "_at_k", name) for name in names)
    return [(name, MEANINGS[name]) for name in families if name in MEANINGS]

"""What each metric is, in a sentence."""

import re

# Of names without their k. What is relevant to a query, and that it never finds itself, the page
# says once.
MEANINGS = {
    "recall_at": "share of queries with a relevant picture among the first k",
    "precision_at": "share of relevant pictures among the first k",
    "ndcg_at": "the gain of the first k, the labels each shares with the query, discounted by the "
    "logarithm of its rank, over the best that was possible",
    "map": "mean average precision: the precision at the rank of each relevant picture, averaged "
    "over all of them",
    "map_at_r": "the same over the first R pictures alone, where R are relevant to the query",
    "r_precision": "share of relevant pictures among the first R, where R are relevant",
    "mrr": "mean of 1 / the rank of the first relevant picture",
    "knn_accuracy": "share of queries that have the label for which most of their knn_k nearest "
    "pictures vote; validation chooses knn_k",
    "triplet_accuracy": "share of drawn triplets whose positive is closer to the query than their "
    "negative",
    "cosine_positive": "mean cosine similarity of a query and a relevant picture",
    "cosine_negative": "mean cosine similarity of a query and another picture",
    "index_recall_at": "share of the true k nearest pictures that the index finds",
    "macro_map": "map as a mean over classes instead of queries",
    "macro_knn_accuracy": "knn_accuracy as a mean over classes instead of queries",
}


def meaning(name: str) -> str:
    """Return what the metric `name` is, or nothing where no sentence is known.

    >>> meaning("recall_at_10")
    'share of queries with a relevant picture among the first k'
    """
    return MEANINGS.get(re.sub(r"(_at)_\d+$", r"\1", name), "")

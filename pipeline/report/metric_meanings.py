"""What each metric means, in one sentence."""

import re
from collections.abc import Iterable

# The page explains once what is relevant to a query, and that a query is never its own result.
MEANINGS = {
    "recall_at_k": "share of queries with a relevant image among the first k results",
    "precision_at_k": "share of relevant images among the first k results",
    "ndcg_at_k": "gain of the first k results (the number of labels that each shares with the "
    "query, discounted by its rank) over the best possible gain",
    "map": "mean average precision: the precision at the rank of each relevant image, averaged "
    "over all relevant images, then over the queries",
    "map_at_r": "the same over the first R results, where R images are relevant to the query",
    "r_precision": "share of relevant images among the first R results, where R are relevant",
    "mrr": "mean of 1 / rank of the first relevant image",
    "knn_accuracy": "share of queries whose knn_k nearest images vote for a label that the query "
    "has; validation chooses knn_k",
    "triplet_accuracy": "share of sampled triplets whose positive is closer to the query than the "
    "negative",
    "cosine_positive": "mean cosine similarity of a query and a relevant image",
    "cosine_negative": "mean cosine similarity of a query and an image that is not relevant",
    "index_recall_at_k": "share of the true k nearest images that the index finds",
    "match_threshold": "score above which a result counts as a match, chosen on validation",
    "match_threshold_queries": "number of validation queries that match_threshold was chosen by",
    "false_match_rate": "share of queries with an image of another class above match_threshold",
    "false_non_match_rate": "share of queries with no relevant image above match_threshold",
    "macro_map": "map as a mean over classes instead of queries",
    "macro_knn_accuracy": "knn_accuracy as a mean over classes instead of queries",
    "plain_…": "the same without database augmentation, query expansion and re-ranking, which look "
    "at other images of the gallery",
}


def meanings_of(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, meaning) of the metrics that have a meaning here, one entry for all k.

    >>> [name for name, _ in meanings_of(["recall_at_1", "recall_at_10", "mrr", "else"])]
    ['recall_at_k', 'mrr']
    """
    plain = (re.sub(r"^plain_.*", "plain_…", name) for name in names)
    families = dict.fromkeys(re.sub(r"_at_\d+$", "_at_k", name) for name in plain)
    return [(name, MEANINGS[name]) for name in families if name in MEANINGS]

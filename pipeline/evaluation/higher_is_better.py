"""Which metrics have a say in whether one model is better than another."""

# More of these is not better retrieval: how alike images are says nothing by itself, and how
# much of the exact ranking an index finds is the index's doing.
NEITHER_WAY = ("cosine_positive", "cosine_negative", "index_recall_at_")


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better retrieval, so that it counts for the verdict.

    >>> has_say("recall_at_10"), has_say("index_recall_at_10"), has_say("cosine_negative")
    (True, False, False)
    """
    return not metric.startswith(NEITHER_WAY)

"""Which metrics show whether one model is better than another."""

# Of what is found where no other images of the gallery have a part in it, beside where they do.
PLAIN = "plain_"
# A higher value of these is not better retrieval: the mean similarity of images alone shows
# nothing, the recall of an index shows the quality of the index, not of the model, and what would
# be found plainly is not what is.
WITHOUT_DIRECTION = ("cosine_positive", "cosine_negative", "index_recall_at_", PLAIN)


def higher_is_better(metric: str) -> bool:
    """Return whether a higher value is better retrieval, so that it counts for the verdict.

    >>> [higher_is_better(name) for name in ("recall_at_10", "index_recall_at_10")]
    [True, False]
    """
    return not metric.startswith(WITHOUT_DIRECTION)

"""kNN classification: whether the vote of the nearest images gives a label of the query.

k is chosen on the validation images, never on the test images, which the model is judged by.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Floats, Mask, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.data.tables import KNN
from pipeline.errors import UserError
from pipeline.evaluation.metrics import knn_correct
from pipeline.evaluation.retrieval_task import (
    AS_EMBEDDED,
    RetrievalTask,
    Searched,
    prepare_task,
)
from pipeline.index.distances import DISTANCES, have_unit_length
from pipeline.index.exact_search import find_nearest
from pipeline.index.query_blocks import map_query_blocks
from pipeline.index.relevance import find_relevance
from pipeline.splitting.validation_roles import validation_roles
from pipeline.workers import HERE, Workers

# Distance -> k -> the share of queries whose k nearest vote for one of their labels.
Accuracies = Mapping[str, Mapping[int, float]]


def measure_validation_knn(
    embeddings: Vectors,
    labels: LabelSets,
    split: NDArray[np.object_],
    is_gallery: Mask,
    *,
    k: Sequence[int],
    among: Mask | None = None,
    searched: Searched = AS_EMBEDDED,
    workers: Workers = HERE,
) -> Accuracies:
    """Return the accuracies of the validation images among N, with the gallery of training.

    split: of each of the N images, train, val or test. among: bool [N], the images of validation
    that are queries; None: all. Else as `measure_knn`.

    Raises:
        UserError: no validation image has a relevant gallery image, or every k is larger than
            their gallery, or the embeddings are not finite.
    """
    is_query, in_gallery = validation_roles(split, is_gallery)
    if among is not None and labels.have_relevant(in_gallery)[is_query & among].any():
        is_query = is_query & among
    if not labels.have_relevant(in_gallery)[is_query].any():
        raise UserError(
            f"splits: found {is_query.sum()} validation images, none with another of its class "
            "to find, so evaluate.knn cannot be chosen; allowed: one or more that has; change "
            "split.val_by or split.val_fraction"
        )
    max_k = find_relevance(labels, is_query, in_gallery).max_k
    if min(k) > max_k:
        raise UserError(
            f"evaluate.knn: found {list(k)}, of which validation chooses; its images find "
            f"{max_k} others; allowed: at least one of 1 to {max_k}; add a smaller one, or change "
            "split.val_by or split.val_fraction"
        )
    roles = is_query, in_gallery
    return measure_knn(embeddings, labels, *roles, k=k, searched=searched, workers=workers)


def measure_knn(
    embeddings: Vectors,
    labels: LabelSets,
    is_query: Mask,
    is_gallery: Mask,
    *,
    k: Sequence[int],
    searched: Searched = AS_EMBEDDED,
    workers: Workers = HERE,
) -> Accuracies:
    """Return the knn_accuracy of N images by both distances, for each k that the gallery allows.

    A k larger than `Relevance.max_k` is skipped. The accuracy is the mean of `knn_correct` over
    the queries with a relevant image in the gallery, as for all metrics.

    embeddings: float32 [N, D]. is_query, is_gallery: bool [N]. k: at least one is allowed.
    searched: as of `prepare_task`.

    Raises:
        UserError: the embeddings are not finite.
    """
    relevance = find_relevance(labels, is_query, is_gallery)
    allowed_k = sorted({each for each in k if each <= relevance.max_k})
    has_relevant = labels.have_relevant(is_gallery)[is_query]
    accuracies: dict[str, dict[int, float]] = {}
    for distance in DISTANCES:
        if accuracies and searched is AS_EMBEDDED and have_unit_length(embeddings):
            # |q - g|^2 = 2 - 2 cos(q, g): the ranking is the same, and ranking is the cost.
            accuracies[distance] = accuracies[DISTANCES[0]]
            continue
        task = prepare_task(
            *(embeddings, labels, is_query, is_gallery, relevance),
            distance=distance,
            searched=searched,
        )
        blocks = map_query_blocks(
            partial(_vote_block, task, allowed_k),
            queries=len(task.queries),
            gallery=relevance.gallery_size,
            costly=task.rerank > 0,
            workers=workers,
        )
        correct = np.concatenate(list(blocks))[has_relevant]  # (queries with relevant images, k)
        accuracies[distance] = dict(zip(allowed_k, correct.mean(axis=0).tolist(), strict=True))
    return accuracies


def choose_k(accuracy: Mapping[int, float]) -> int:
    """Return the k with the highest accuracy; the smallest of several."""
    return min(accuracy, key=lambda k: (-accuracy[k], k))


def tabulate_knn(val: Accuracies, test: Accuracies) -> pa.Table:
    """Return the KNN table: a row for each distance and each k of `test`."""
    rows = [
        {
            "distance": distance,
            "k": k,
            "val_accuracy": val[distance].get(k),
            "test_accuracy": accuracy,
            "chosen": k == choose_k(val[distance]),
        }
        for distance, of_k in test.items()
        for k, accuracy in of_k.items()
    ]
    return pa.Table.from_pylist(rows, pa.schema(KNN.columns))


def _vote_block(task: RetrievalTask, ks: Sequence[int], start: int, stop: int) -> Floats:
    """Return float64 [stop - start, K]: for each k, 1 if a query's k nearest vote correctly."""
    scores = task.score(start, stop)
    # One search for all k: the k nearest are the first k of the nearest.
    ordered = task.rank(scores, start, stop)
    nearest = find_nearest(ordered, task.relevance.own_rows[start:stop], max(ks))
    labels = task.query_labels.take(np.arange(start, stop))
    correct = [knn_correct(nearest[:, :k], task.gallery_labels, labels) for k in ks]
    return np.stack(correct, axis=1)

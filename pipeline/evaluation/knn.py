"""kNN classification over k and distance: does the vote of the nearest images name the class?

How many vote is chosen on the validation images. The test images, by which the model is judged,
have no say in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Mask, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.data.tables import KNN
from pipeline.errors import UserError
from pipeline.evaluation.metrics import knn_correct
from pipeline.evaluation.ranking import find_nearest
from pipeline.index.distances import (
    DISTANCES,
    GalleryScorer,
    have_unit_length,
    prepare_vectors,
)
from pipeline.index.query_blocks import map_query_blocks
from pipeline.index.relevance import find_relevance
from pipeline.splitting.validation_roles import validation_roles

# Distance -> k -> the share of queries whose k nearest vote for one of their labels.
Accuracies = Mapping[str, Mapping[int, float]]


def knn_on_validation(
    embeddings: Vectors,
    labels: LabelSets,
    split: NDArray[np.object_],
    is_gallery: Mask,
    *,
    k: Sequence[int],
) -> Accuracies:
    """Return the accuracies of the validation images among N, searched as in training.

    split: of each of the N images, train, val or test. Else as `knn_accuracies`.

    Raises:
        UserError: no validation image has a relevant one to find, or each k is larger than what
            they can find, or the embeddings are not finite.
    """
    is_query, searched = validation_roles(split, is_gallery)
    if not labels.have_relevant(searched)[is_query].any():
        raise UserError(
            f"splits: found {is_query.sum()} validation images, none with another of its class "
            "to find, so evaluate.knn cannot be chosen; allowed: one or more that has; change "
            "split.val_by or split.val_fraction"
        )
    most = find_relevance(labels, is_query, searched).max_k
    if min(k) > most:
        raise UserError(
            f"evaluate.knn: found {list(k)}, of which validation chooses; its images find "
            f"{most} others; allowed: at least one of 1 to {most}; add a smaller one, or change "
            "split.val_by or split.val_fraction"
        )
    return knn_accuracies(embeddings, labels, is_query, searched, k=k)


def knn_accuracies(
    embeddings: Vectors, labels: LabelSets, is_query: Mask, is_gallery: Mask, *, k: Sequence[int]
) -> Accuracies:
    """Return the knn_accuracy of N images by both distances, for each k that fits.

    A k larger than what every query can find is passed over. The accuracy is the mean of
    `knn_correct` over the queries with a relevant image in the gallery, as everywhere.

    embeddings: float32 [N, D]. is_query, is_gallery: bool [N]. k: one or more that fits.

    Raises:
        UserError: the embeddings are not finite.
    """
    relevance = find_relevance(labels, is_query, is_gallery)
    fitting = sorted({each for each in k if each <= relevance.max_k})
    counted = labels.have_relevant(is_gallery)[is_query]
    accuracies: dict[str, dict[int, float]] = {}
    for distance in DISTANCES:
        if accuracies and have_unit_length(embeddings):
            # |q - g|^2 = 2 - 2 cos(q, g): one ranking, and the search is what costs.
            accuracies[distance] = accuracies[DISTANCES[0]]
            continue
        vectors = prepare_vectors(embeddings, distance=distance)
        task = _Task(
            queries=vectors[is_query],
            gallery=GalleryScorer(vectors[is_gallery], distance=distance),
            query_labels=labels.take(np.flatnonzero(is_query)),
            gallery_labels=labels.take(np.flatnonzero(is_gallery)),
            own=relevance.own_rows,
            k=fitting,
        )
        work = partial(_vote_block, task)
        blocks = map_query_blocks(
            work, queries=len(relevance.own_rows), gallery=relevance.gallery_size
        )
        correct = np.concatenate(list(blocks))[counted]  # (counted queries, k)
        accuracies[distance] = dict(zip(fitting, correct.mean(axis=0).tolist(), strict=True))
    return accuracies


def choose_k(accuracy: Mapping[int, float]) -> int:
    """Return the k of the highest accuracy, of equal ones the smallest."""
    return min(accuracy, key=lambda k: (-accuracy[k], k))


def knn_table(val: Accuracies, test: Accuracies) -> pa.Table:
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


@dataclass(frozen=True)
class _Task:
    """All that a block of queries needs; shared by the threads and never changed."""

    queries: Vectors
    gallery: GalleryScorer
    query_labels: LabelSets
    gallery_labels: LabelSets
    own: Ints
    k: Sequence[int]


def _vote_block(task: _Task, start: int, stop: int) -> NDArray[np.float64]:
    """Return float64 [stop - start, K]: of each query, whether its k nearest are right."""
    scores = task.gallery.score(task.queries[start:stop])
    # One search for all: the k nearest are the first k of the nearest.
    nearest = find_nearest(scores, task.own[start:stop], max(task.k))
    asked = task.query_labels.take(np.arange(start, stop))
    votes = [knn_correct(nearest[:, :k], task.gallery_labels, asked) for k in task.k]
    return np.stack(votes, axis=1)

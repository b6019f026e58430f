"""Failure analysis: queries that fail or succeed, near-duplicates with other labels, confusions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Mask, Scores
from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets
from pipeline.data.tables import FAILURES, NEAR_DUPLICATES, SUCCESSES, Table
from pipeline.evaluation.confusions import tabulate_confusions
from pipeline.evaluation.metrics import DECIMALS
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics
from pipeline.evaluation.retrieval_task import RetrievalTask
from pipeline.health.perceptual_hashes import (
    HashImages,
    agree_in_color,
    count_differing_bits,
)
from pipeline.index.distances import SCORE_TOLERANCE, prepare_vectors, score_pairs

NOT_COMPARED = -1


@dataclass(frozen=True)
class TopHits:
    """The first gallery image of the exact ranking of each of Q queries.

    rows: int64 [Q], gallery rows. scores: float32 [Q], by the distance of the ranking. cosines:
    float32 [Q]. wrong: bool [Q], whether the hit is not relevant although the gallery has a
    relevant image.
    """

    rows: Ints
    scores: Scores
    cosines: Scores
    wrong: Mask


@dataclass(frozen=True)
class FailureAnalysis:
    """The tables about single queries (see `pipeline.data.tables`), and metrics of them."""

    failures: pa.Table
    successes: pa.Table
    near_duplicates: pa.Table
    confusions: pa.Table
    metrics: dict[str, float | int]


def analyze_failures(
    metrics: RetrievalMetrics,
    images: EmbeddedSplit,
    labels: LabelSets,
    task: RetrievalTask,
    hash_images: HashImages,
    *,
    failure_k: int,
    cosine: float,
    bits: int,
) -> FailureAnalysis:
    """Return the failure analysis of the queries of `metrics`, by the exact ranking.

    A failure has no relevant image in the top `failure_k`; a success has one at rank 1. Label
    noise is a query with a wrong top hit that is its near-duplicate: their cosine is at least
    `cosine`, their perceptual hashes differ in at most `bits` bits, and their colors agree (see
    `pipeline.health.perceptual_hashes`). A query without a relevant image is none of these.

    images: as embedded, by whose cosine two are near-duplicates, whatever is done to embeddings
    before they are ranked. labels: of all `images`. task: the ranking. hash_images: called only for
    images whose cosine is high enough.
    """
    hits = find_top_hits(metrics, images, task)
    ids = images.ids[images.is_query]
    hit_ids = images.ids[images.is_gallery][hits.rows]
    # Two sums of one cosine may differ; the tolerance gives identical images a cosine of 1.
    similar = hits.wrong & (hits.cosines + SCORE_TOLERANCE >= cosine)
    differing_bits, same_colors = _compare_hashes(similar, ids, hit_ids, hash_images)
    near_duplicate = similar & (differing_bits <= bits) & same_colors
    failed = metrics.first_hit_rank > failure_k
    columns = {
        "image_id": pa.array(ids, pa.string()),
        "positives": pa.array(metrics.positives, pa.int32()),
        "first_hit_rank": pa.array(metrics.first_hit_rank, from_pandas=True).cast(pa.int32()),
        "average_precision": pa.array(metrics.per_query["average_precision"], pa.float64()),
        "top_hit": pa.array(hit_ids, pa.string()),
        "score": pa.array(hits.scores, pa.float32()),
        "cosine": pa.array(hits.cosines, pa.float32()),
        "bits": pa.array(differing_bits, pa.int32(), mask=differing_bits == NOT_COMPARED),
        "near_duplicate": pa.array(near_duplicate),
        "failure": pa.array(failed),
    }
    return FailureAnalysis(
        failures=_select_rows(columns, failed, FAILURES),
        successes=_select_rows(columns, metrics.first_hit_rank == 1, SUCCESSES),
        near_duplicates=_select_rows(columns, near_duplicate, NEAR_DUPLICATES),
        confusions=tabulate_confusions(
            labels.take(np.flatnonzero(images.is_query)),
            labels.take(np.flatnonzero(images.is_gallery)[hits.rows]),
            wrong=hits.wrong,
            has_relevant=metrics.positives > 0,
            cosines=hits.cosines,
            ids=ids,
            hit_ids=hit_ids,
        ),
        metrics=_count_failures(metrics, failed, near_duplicate),
    )


def find_top_hits(metrics: RetrievalMetrics, images: EmbeddedSplit, task: RetrievalTask) -> TopHits:
    """Return the top hit of each query, with its score in the ranking and its cosine as embedded.

    metrics: of this task of these images, with one `ranked` row at least.
    """
    rows = metrics.ranked[:, :1]
    scores = score_pairs(task.queries, task.gallery, rows, distance=task.distance)
    vectors = prepare_vectors(images.vectors, distance="cosine")
    queries, gallery = vectors[images.is_query], vectors[images.is_gallery]
    cosines = score_pairs(queries, gallery, rows, distance="cosine")
    wrong = metrics.first_hit_rank > 1  # False for NaN, a query without a relevant image
    return TopHits(rows[:, 0], scores[:, 0], cosines[:, 0], wrong)


def _compare_hashes(
    compared: Mask,
    ids: NDArray[np.object_],
    hit_ids: NDArray[np.object_],
    hash_images: HashImages,
) -> tuple[Ints, Mask]:
    """Return the number of bits in which query and hit differ, int64 [Q], and if colors agree.

    NOT_COMPARED and False for a query that is not in `compared`, bool [Q].
    """
    differing_bits = np.full(len(ids), NOT_COMPARED, dtype=np.int64)
    same_colors = np.zeros(len(ids), dtype=np.bool_)
    # An image may be a query and the hit of several others; it is decoded once.
    pairs = np.stack([ids[compared], hit_ids[compared]]).astype(str)
    distinct, places = np.unique(pairs, return_inverse=True)
    hashes = hash_images(distinct.tolist())
    rows = places.reshape(pairs.shape)
    differing_bits[compared] = count_differing_bits(*hashes.bits[rows])
    same_colors[compared] = agree_in_color(*hashes.colors[rows])
    return differing_bits, same_colors


def _select_rows(columns: dict[str, pa.Array], selected: Mask, kind: Table) -> pa.Table:
    names: Sequence[str] = [field.name for field in kind.columns]
    return pa.table({name: columns[name] for name in names}).filter(pa.array(selected))


def _count_failures(
    metrics: RetrievalMetrics, failed: Mask, near_duplicate: Mask
) -> dict[str, float | int]:
    counts: dict[str, float | int] = {
        "failures": int(failed.sum()),
        "label_noise": int(near_duplicate.sum()),
        "failures_label_noise": int((failed & near_duplicate).sum()),
    }
    left = (metrics.positives > 0) & ~near_duplicate
    if left.any():  # else there is no query to take a mean of
        recall = float(np.mean(metrics.first_hit_rank[left] == 1))
        counts["recall_at_1_without_label_noise"] = round(recall, DECIMALS)
    return counts

"""Measures the retrieval of embeddings; both validation and the evaluate stage call this code."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np

from pipeline.data.arrays import Floats, Ints, Mask, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.errors import UserError
from pipeline.evaluation import metrics
from pipeline.evaluation.class_metrics import ClassMetrics, rank_by_class
from pipeline.evaluation.curves import CurvePlan, CurveSums, plan_curves, tabulate_curves
from pipeline.evaluation.ranking import Ranks, rank_relevant
from pipeline.evaluation.retrieval_metrics import MEAN_NAMES, RetrievalMetrics
from pipeline.evaluation.retrieval_task import (
    AS_EMBEDDED,
    RetrievalTask,
    Searched,
    prepare_task,
)
from pipeline.index.distances import prepare_vectors, score_pairs
from pipeline.index.exact_search import find_nearest
from pipeline.index.query_blocks import map_query_blocks
from pipeline.index.relevance import Relevance, find_relevance, sample_pairs
from pipeline.workers import HERE, Workers


@dataclass(frozen=True)
class _Options:
    """What `measure` computes; shared by the threads and never changed.

    unit_queries, unit_gallery: float32 [Q, D] and [G, D] of unit length, if there are triplets.
    uniforms: float64 [Q, triplets, 2], the random numbers to sample triplets with.
    """

    k: Sequence[int]
    knn: int
    nearest: int
    plan: CurvePlan | None
    unit_queries: Vectors
    unit_gallery: Vectors
    uniforms: Floats


@dataclass(frozen=True)
class _Block:
    per_query: dict[str, Floats]
    positives: Ints
    first_hit_rank: Floats
    nearest: Ints
    ranked: Ints
    per_class: dict[str, Floats]
    sums: CurveSums | None


def measure(
    embeddings: Vectors,
    labels: LabelSets,
    is_query: Mask,
    is_gallery: Mask,
    *,
    distance: str,
    searched: Searched = AS_EMBEDDED,
    **options: Any,
) -> RetrievalMetrics:
    """Return the retrieval metrics of N images by the exact ranking of the whole gallery.

    Of gallery images that tie, the earlier is first: give the images in `tie_order`.

    embeddings: float32 [N, D]. is_query, is_gallery: bool [N]. searched: as of `prepare_task`.
    options: as of `measure_task`.

    Raises:
        UserError: as `check_sizes` and `measure_task`, or the embeddings are not finite.
    """
    relevance = find_relevance(labels, is_query, is_gallery)
    check_sizes(relevance, k=options["k"], knn=[options.get("knn", 0)])
    task = prepare_task(
        *(embeddings, labels, is_query, is_gallery, relevance), distance=distance, searched=searched
    )
    return measure_task(task, **options)


def measure_task(
    task: RetrievalTask,
    *,
    k: Sequence[int],
    knn: int = 0,
    triplets: int = 0,
    seed: int = 0,
    nearest: int = 0,
    curves: bool = False,
    workers: Workers = HERE,
) -> RetrievalMetrics:
    """Return the retrieval metrics of a task, for sizes that `check_sizes` allows.

    The queries are ranked block by block, so that Q x G scores are never in memory at once.

    k: of recall, precision and ndcg. knn: the neighbors that vote; 0 leaves knn_accuracy out.
    triplets: sampled for each query from `seed`; 0 leaves triplet_accuracy and the mean cosines
    out. nearest: gallery rows of each query to return; many are costly.

    Raises:
        UserError: no query has a relevant image.
    """
    unit_queries, unit_gallery = task.queries, task.gallery
    if triplets and task.distance != "cosine":
        unit_queries, unit_gallery = (
            prepare_vectors(vectors, distance="cosine") for vectors in (task.queries, task.gallery)
        )
    plan = None
    if curves:
        queries, gallery = task.queries, task.gallery
        plan = plan_curves(queries, gallery, task.query_labels, distance=task.distance)
    options = _Options(
        k=k,
        knn=knn,
        nearest=nearest,
        plan=plan,
        unit_queries=unit_queries,
        unit_gallery=unit_gallery,
        uniforms=np.random.default_rng(seed).random((len(task.queries), triplets, 2)),
    )
    blocks = map_query_blocks(
        partial(_measure_block, task, options),
        queries=len(task.queries),
        gallery=task.relevance.gallery_size,
        costly=task.rerank > 0,
        workers=workers,
        what="queries",
    )
    result = _join_blocks(list(blocks), task, options.plan)
    if not result.positives.any():
        raise UserError(
            f"splits: none of {len(task.queries)} queries shares a label with another gallery "
            "image; allowed: at least one; change split.protocol"
        )
    return result


def check_sizes(relevance: Relevance, *, k: Sequence[int], knn: Sequence[int]) -> None:
    """Raise a UserError if there is no query, no gallery, or a k or knn exceeds the gallery."""
    if not len(relevance.own_rows) or relevance.max_k < 1:
        raise UserError(
            f"splits: found {len(relevance.own_rows)} queries and {relevance.gallery_size} gallery "
            "images; allowed: queries, and for each a gallery image besides itself; "
            "change split.protocol"
        )
    max_k = relevance.max_k
    for name, values in (("k", k), ("knn", knn)):
        if values and max(values) > max_k:
            size = relevance.gallery_size
            fewer = "" if max_k == size else ", one fewer for a query that is in it"
            raise UserError(
                f"evaluate.{name}: found {max(values)}; the gallery has {size} "
                f"images{fewer}; allowed: 1 to {max_k}"
            )


def _measure_block(task: RetrievalTask, options: _Options, start: int, stop: int) -> _Block:
    own_rows = task.relevance.own_rows[start:stop]
    pairs = task.relevance.pairs(start, stop)
    scores = task.score(start, stop)
    ordered = task.rank(scores, start, stop)
    ranks = rank_relevant(ordered, pairs, own_rows)
    count = max(options.nearest, options.knn)
    nearest = ranked = find_nearest(scores, own_rows, count)
    if ordered is not scores:
        ranked = find_nearest(ordered, own_rows, count)
    per_query = _query_columns(ranks, options.k)
    labels = task.query_labels.take(np.arange(start, stop))
    if options.knn:
        voters = ranked[:, : options.knn]
        per_query["knn_correct"] = metrics.knn_correct(voters, task.gallery_labels, labels)
    if options.uniforms.shape[1]:
        uniforms = options.uniforms[start:stop]
        gallery_size = task.relevance.gallery_size
        sampled = sample_pairs(pairs, own_rows, gallery_size, uniforms=uniforms)
        per_query |= _triplet_columns(task, options, sampled, start, stop)
    class_ranks = rank_by_class(ranks, task.gallery_labels, labels)
    per_class = _class_columns(class_ranks, options.k)
    sums = None
    if options.plan:
        first = int(task.query_labels.starts[start])
        sums = options.plan.sum_block(first, scores, own_rows, pairs, ranks, class_ranks)
    for values in per_query.values():
        values[ranks.counts == 0] = np.nan
    first_hit_rank = metrics.first_hit_rank(ranks)
    return _Block(per_query, ranks.counts, first_hit_rank, nearest, ranked, per_class, sums)


def _query_columns(ranks: Ranks, k: Sequence[int]) -> dict[str, Floats]:
    columns: dict[str, Floats] = {}
    for name, metric in (
        ("recall", metrics.recall_at_k),
        ("precision", metrics.precision_at_k),
        ("ndcg", metrics.ndcg_at_k),
    ):
        columns |= {f"{name}_at_{each}": metric(ranks, each) for each in sorted(set(k))}
    columns["average_precision"] = metrics.average_precision(ranks)
    columns["average_precision_at_r"] = metrics.average_precision_at_r(ranks)
    columns["r_precision"] = metrics.r_precision(ranks)
    columns["reciprocal_rank"] = metrics.reciprocal_rank(ranks)
    return columns


def _class_columns(class_ranks: Ranks, k: Sequence[int]) -> dict[str, Floats]:
    recalls = {
        f"recall_at_{each}": metrics.recall_at_k(class_ranks, each) for each in sorted(set(k))
    }
    return {"average_precision": metrics.average_precision(class_ranks)} | recalls


def _triplet_columns(
    task: RetrievalTask, options: _Options, sampled: Ints, start: int, stop: int
) -> dict[str, Floats]:
    """Return the triplet columns of `sampled`, int64 [2, Q, n] gallery rows; NaN without a pair."""
    queries, gallery = task.queries[start:stop], task.gallery
    positive, negative = (
        score_pairs(queries, gallery, rows, distance=task.distance) for rows in sampled
    )
    columns = {"triplet_accuracy": (positive > negative).mean(axis=1)}
    if task.distance != "cosine":
        queries, gallery = options.unit_queries[start:stop], options.unit_gallery
        positive, negative = (
            score_pairs(queries, gallery, rows, distance="cosine") for rows in sampled
        )
    columns["cosine_positive"] = positive.mean(axis=1, dtype=np.float64)
    columns["cosine_negative"] = negative.mean(axis=1, dtype=np.float64)
    for values in columns.values():
        values[(sampled[:, :, 0] < 0).any(axis=0)] = np.nan
    return columns


def _join_blocks(
    blocks: list[_Block], task: RetrievalTask, plan: CurvePlan | None
) -> RetrievalMetrics:
    per_query, per_class = (
        {
            name: np.concatenate([getattr(block, kind)[name] for block in blocks])
            for name in getattr(blocks[0], kind)
        }
        for kind in ("per_query", "per_class")
    )
    positives, first_hit_rank, nearest, ranked = (
        np.concatenate([getattr(block, name) for block in blocks])
        for name in ("positives", "first_hit_rank", "nearest", "ranked")
    )
    max_k = task.relevance.max_k
    curves = None
    sums = [block.sums for block in blocks if block.sums]
    if plan and positives.any():
        curves = tabulate_curves(plan, reduce(add, sums), first_hit_rank, max_k)
    by_class = _join_classes(task.query_labels, per_class, per_query.get("knn_correct"))
    return RetrievalMetrics(
        per_query, positives, first_hit_rank, nearest, ranked, max_k, by_class, curves
    )


def _join_classes(
    labels: LabelSets, per_class: dict[str, Floats], knn_correct: Floats | None
) -> ClassMetrics:
    queries = np.repeat(np.arange(len(labels)), np.diff(labels.starts))
    if knn_correct is not None:
        per_class = per_class | {"knn_correct": knn_correct[queries]}
    # A class that no other gallery image has cannot be retrieved, so it has no metrics.
    exists = ~np.isnan(per_class["average_precision"])
    columns = {MEAN_NAMES.get(name, name): values[exists] for name, values in per_class.items()}
    return ClassMetrics(queries[exists], labels.values[exists], columns)

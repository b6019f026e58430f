"""How good embeddings are at retrieval: the one place where validation and evaluate measure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add

import numpy as np
import pyarrow as pa

from pipeline.data.arrays import Floats, Ints, Mask, Vectors
from pipeline.data.label_sets import LabelSets
from pipeline.errors import UserError
from pipeline.evaluation import metrics
from pipeline.evaluation.classes import ClassQueries, ranks_by_class
from pipeline.evaluation.curves import CurvePlan, CurveSums, curves_table, plan_curves
from pipeline.evaluation.ranking import Ranks, find_nearest, rank_relevant
from pipeline.index.distances import GalleryScorer, prepare_vectors, score_pairs
from pipeline.index.query_blocks import map_query_blocks
from pipeline.index.relevance import Relevance, find_relevance, sample_pairs

# The mean of a column of each query has a name of its own where the field gave it one.
MEANS = {
    "average_precision": "map",
    "average_precision_at_r": "map_at_r",
    "reciprocal_rank": "mrr",
    "knn_correct": "knn_accuracy",
}


@dataclass(frozen=True)
class Measured:
    """The metrics of Q queries against G gallery images.

    per_query: column -> float64 [Q]. Queries without a relevant image are NaN in all of them.
    positives: int64 [Q], the relevant images of each. first_hit_rank: float64 [Q].
    nearest: int64 [Q, K], the first gallery rows of the exact ranking, K = max(nearest, knn).
    max_k: images that every query can find, so the largest k that is allowed.
    classes: the metrics of each class of each query. curves: the CURVES table, None unless asked
    for.
    """

    per_query: dict[str, Floats]
    positives: Ints
    first_hit_rank: Floats
    nearest: Ints
    max_k: int
    classes: ClassQueries
    curves: pa.Table | None

    @property
    def means(self) -> dict[str, float]:
        """Metric -> its mean over the queries that have a relevant image."""
        return {
            MEANS.get(column, column): float(np.nanmean(values))
            for column, values in self.per_query.items()
            # Where every gallery image is relevant there is no triplet, and nothing to report.
            if not np.isnan(values).all()
        }

    @property
    def queries_without_positives(self) -> int:
        """Queries with no relevant gallery image, which no mean counts."""
        return int(np.sum(self.positives == 0))

    def with_columns(self, columns: dict[str, Floats]) -> "Measured":
        """Return this with further columns, float64 [Q], NaN where a query has no positives."""
        masked = {
            name: np.where(self.positives > 0, values, np.nan) for name, values in columns.items()
        }
        return replace(self, per_query=self.per_query | masked)


@dataclass(frozen=True)
class _Block:
    per_query: dict[str, Floats]
    positives: Ints
    first_hit_rank: Floats
    nearest: Ints
    per_class: dict[str, Floats]
    sums: CurveSums | None


@dataclass(frozen=True)
class _Task:
    """All that a block of queries needs; shared by the threads and never changed."""

    queries: Vectors
    gallery: Vectors
    unit_queries: Vectors
    unit_gallery: Vectors
    stripes: GalleryScorer
    relevance: Relevance
    query_labels: LabelSets
    gallery_labels: LabelSets
    k: Sequence[int]
    knn: int
    nearest: int
    plan: CurvePlan | None
    distance: str
    uniforms: Floats


def measure(
    embeddings: Vectors,
    labels: LabelSets,
    is_query: Mask,
    is_gallery: Mask,
    *,
    k: Sequence[int],
    distance: str,
    knn: int = 0,
    triplets: int = 0,
    seed: int = 0,
    nearest: int = 0,
    curves: bool = False,
) -> Measured:
    """Return the retrieval metrics of N images by the exact ranking of the whole gallery.

    The ranking is made block by block of queries: never all Q x G scores at once.

    embeddings: float32 [N, D]. is_query, is_gallery: bool [N]. k: of recall, precision and ndcg.
    knn: neighbours that vote; 0 leaves knn_accuracy out. triplets: drawn of each query from
    `seed`; 0 leaves triplet_accuracy and the mean cosines out. nearest: gallery rows of each query
    to return; costly where they are many.

    Raises:
        UserError: a k or knn is larger than the gallery, no query has a relevant image, or the
            embeddings are not finite.
    """
    relevance = find_relevance(labels, is_query, is_gallery)
    check_sizes(relevance, k=k, knn=[knn])
    vectors = prepare_vectors(embeddings, distance=distance)
    units = vectors if distance == "cosine" else prepare_vectors(vectors, distance="cosine")
    queries, gallery = vectors[is_query], vectors[is_gallery]
    query_labels = labels.take(np.flatnonzero(is_query))
    task = _Task(
        queries=queries,
        gallery=gallery,
        unit_queries=units[is_query] if triplets else queries,
        unit_gallery=units[is_gallery] if triplets else gallery,
        stripes=GalleryScorer(gallery, distance=distance),
        relevance=relevance,
        query_labels=query_labels,
        gallery_labels=labels.take(np.flatnonzero(is_gallery)),
        k=k,
        knn=knn,
        nearest=nearest,
        plan=plan_curves(queries, gallery, query_labels, distance=distance) if curves else None,
        distance=distance,
        uniforms=np.random.default_rng(seed).random((len(queries), triplets, 2)),
    )
    blocks = map_query_blocks(
        partial(_measure_block, task), queries=len(queries), gallery=relevance.gallery_size
    )
    measured = _join(list(blocks), task)
    if not measured.positives.any():
        raise UserError(
            f"splits: none of {len(queries)} queries shares a label with another gallery image; "
            "allowed: at least one; change split.protocol"
        )
    return measured


def _measure_block(task: _Task, start: int, stop: int) -> _Block:
    own = task.relevance.own_rows[start:stop]
    pairs = task.relevance.pairs(start, stop)
    scores = task.stripes.score(task.queries[start:stop])
    ranks = rank_relevant(scores, pairs, own)
    nearest = find_nearest(scores, own, max(task.nearest, task.knn))
    per_query = _columns(ranks, task.k)
    asked = task.query_labels.take(np.arange(start, stop))
    if task.knn:
        voters = nearest[:, : task.knn]
        per_query["knn_correct"] = metrics.knn_correct(voters, task.gallery_labels, asked)
    if task.uniforms.shape[1]:
        uniforms = task.uniforms[start:stop]
        drawn = sample_pairs(pairs, own, task.relevance.gallery_size, uniforms=uniforms)
        per_query |= _triplets(task, drawn, start, stop)
    by_class = ranks_by_class(ranks, task.gallery_labels, asked)
    per_class = _class_columns(by_class, task.k)
    sums = None
    if task.plan:
        first = int(task.query_labels.starts[start])
        sums = task.plan.sums(first, scores, own, pairs, ranks, by_class)
    for values in per_query.values():
        values[ranks.counts == 0] = np.nan
    return _Block(per_query, ranks.counts, metrics.first_hit_rank(ranks), nearest, per_class, sums)


def check_sizes(relevance: Relevance, *, k: Sequence[int], knn: Sequence[int]) -> None:
    """Raise a UserError where nobody asks or is searched, or a k or knn exceeds the gallery."""
    if not len(relevance.own_rows) or relevance.max_k < 1:
        raise UserError(
            f"splits: found {len(relevance.own_rows)} queries and {relevance.gallery_size} gallery "
            "images; allowed: queries, and for each a gallery image besides itself; "
            "change split.protocol"
        )
    most = relevance.max_k
    for name, values in (("k", k), ("knn", knn)):
        if values and max(values) > most:
            fewer = (
                "" if most == relevance.gallery_size else ", one fewer for a query that is in it"
            )
            raise UserError(
                f"evaluate.{name}: found {max(values)}; the gallery has {relevance.gallery_size} "
                f"images{fewer}; allowed: 1 to {most}"
            )


def _columns(ranks: Ranks, k: Sequence[int]) -> dict[str, Floats]:
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


def _class_columns(by_class: Ranks, k: Sequence[int]) -> dict[str, Floats]:
    recalls = {f"recall_at_{each}": metrics.recall_at_k(by_class, each) for each in sorted(set(k))}
    return {"average_precision": metrics.average_precision(by_class)} | recalls


def _triplets(task: _Task, drawn: Ints, start: int, stop: int) -> dict[str, Floats]:
    """Return the triplet columns of `drawn`, int64 [2, Q, n] gallery rows; NaN without a pair."""
    asked, known = task.queries[start:stop], task.gallery
    positive, negative = (score_pairs(asked, known, rows, distance=task.distance) for rows in drawn)
    columns = {"triplet_accuracy": (positive > negative).mean(axis=1)}
    if task.distance != "cosine":
        asked, known = task.unit_queries[start:stop], task.unit_gallery
        positive, negative = (score_pairs(asked, known, rows, distance="cosine") for rows in drawn)
    columns["cosine_positive"] = positive.mean(axis=1, dtype=np.float64)
    columns["cosine_negative"] = negative.mean(axis=1, dtype=np.float64)
    for values in columns.values():
        values[(drawn[:, :, 0] < 0).any(axis=0)] = np.nan
    return columns


def _join(blocks: list[_Block], task: _Task) -> Measured:
    columns, per_class = (
        {
            name: np.concatenate([getattr(block, kind)[name] for block in blocks])
            for name in getattr(blocks[0], kind)
        }
        for kind in ("per_query", "per_class")
    )
    positives, first, nearest = (
        np.concatenate([getattr(block, name) for block in blocks])
        for name in ("positives", "first_hit_rank", "nearest")
    )
    most = task.relevance.max_k
    curves = None
    sums = [block.sums for block in blocks if block.sums]
    if task.plan and positives.any():
        curves = curves_table(task.plan, reduce(add, sums), first, most)
    classes = _join_classes(task.query_labels, per_class, columns.get("knn_correct"))
    return Measured(columns, positives, first, nearest, most, classes, curves)


def _join_classes(
    labels: LabelSets, per_class: dict[str, Floats], knn_correct: Floats | None
) -> ClassQueries:
    queries = np.repeat(np.arange(len(labels)), np.diff(labels.starts))
    if knn_correct is not None:
        per_class = per_class | {"knn_correct": knn_correct[queries]}
    # A class that no other gallery image has cannot be found, so nobody asks for it.
    asked = ~np.isnan(per_class["average_precision"])
    columns = {MEANS.get(name, name): values[asked] for name, values in per_class.items()}
    return ClassQueries(queries[asked], labels.values[asked], columns)

"""The evaluation of one model: its metrics report, and the tables behind it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config.schema import Params
from pipeline.data import tables
from pipeline.data.arrays import Mask
from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets
from pipeline.data.name_numbers import number_names
from pipeline.errors import UserError
from pipeline.evaluation.failures import FailureAnalysis, analyze_failures
from pipeline.evaluation.higher_is_better import PLAIN
from pipeline.evaluation.index_recall import search_gallery
from pipeline.evaluation.intervals_over import choose_intervals_over
from pipeline.evaluation.knn import choose_k, measure_knn, measure_validation_knn, tabulate_knn
from pipeline.evaluation.match_threshold import measure_threshold
from pipeline.evaluation.measure import check_sizes, measure, measure_task
from pipeline.evaluation.metrics import DECIMALS
from pipeline.evaluation.metrics_report import MetricsReport, report_metrics
from pipeline.evaluation.result_tables import tabulate_neighbors, tabulate_queries
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics
from pipeline.evaluation.retrieval_task import AS_EMBEDDED, Searched, prepare_task
from pipeline.health.perceptual_hashes import HashImages
from pipeline.index.build import read_index_postprocessing
from pipeline.index.database_augmentation import vectors_to_index
from pipeline.index.postprocessing import Postprocessing
from pipeline.index.relevance import Relevance, find_relevance
from pipeline.index.search import Neighbors
from pipeline.workers import HERE, Workers

TABLES = {
    "neighbors": tables.NEIGHBORS,
    "queries": tables.QUERIES,
    "classes": tables.CLASS_RESULTS,
    "curves": tables.CURVES,
    "failures": tables.FAILURES,
    "successes": tables.SUCCESSES,
    "near_duplicates": tables.NEAR_DUPLICATES,
    "confusions": tables.CONFUSIONS,
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationResults:
    """metrics: for metrics/details/<model>.json. tables: file stem -> a table and its schema."""

    metrics: MetricsReport
    tables: dict[str, tuple[pa.Table, tables.Table]]


def evaluate_model(
    images: EmbeddedSplit,
    labels: LabelSets,
    index: Path,
    hash_images: HashImages,
    params: Params,
    *,
    workers: Workers = HERE,
) -> EvaluationResults:
    """Return the results of a model by its embeddings and its index.

    Where `evaluate.queries` is less than there are queries, that many are sampled, by their
    image_ids, so that another model is measured with the same ones; of validation, as many.

    labels: of all `images`. index: its directory. hash_images: called for few images. workers: they
    rank the gallery for each query.

    Raises:
        UserError: as `check_sizes`, `measure`, `read_index` and `check_index`.
    """
    postprocessing, distance = read_index_postprocessing(index), params.index.distance
    if not images.is_query.any():
        return _report_nothing(images, postprocessing)
    embedded = _sample_queries(images, labels, params.evaluate.queries)
    images = replace(embedded, vectors=postprocessing.apply(embedded.vectors))
    searched, for_val = _find_searched(postprocessing, images, workers)
    relevance = find_relevance(labels, images.is_query, images.is_gallery)
    k, knn = _fit_to_gallery(relevance, params)
    votes = _choose_votes(images, labels, knn, params, workers, searched, for_val)
    task = prepare_task(
        *(images.vectors, labels, images.is_query, images.is_gallery, relevance),
        distance=distance,
        searched=searched,
    )
    metrics = measure_task(
        task,
        k=k,
        knn=votes.k,
        triplets=params.evaluate.triplets,
        seed=params.seed,
        nearest=max(k),
        curves=True,
        workers=workers,
    )
    metrics, neighbors = search_gallery(
        *(index, images, task, metrics),
        indexed=images.vectors if searched.indexed is None else searched.indexed,
        k=k,
        kept=params.evaluate.neighbors,
    )
    analysis = analyze_failures(
        *(metrics, embedded, labels, task, hash_images),
        failure_k=params.evaluate.failure_k,
        cosine=params.evaluate.near_duplicate.cosine,
        bits=params.evaluate.near_duplicate.bits,
    )
    del task  # with a copy of all vectors, as the next has
    rate = params.evaluate.false_match_rate
    threshold = measure_threshold(
        images, labels, rate=rate, distance=distance, searched=searched, for_val=for_val
    )
    report = _report(metrics, images, labels, params)
    report |= {**analysis.metrics, **votes.metrics, **threshold}
    report |= _describe_postprocessing(postprocessing, images, labels, k, params, workers)
    of_queries = _list_tables(images, relevance, metrics, neighbors, analysis)
    return EvaluationResults(report, of_queries | {"knn": (votes.table, tables.KNN)})


def _report(
    metrics: RetrievalMetrics, images: EmbeddedSplit, labels: LabelSets, params: Params
) -> MetricsReport:
    over = choose_intervals_over(labels, images.split, images.is_query)
    return report_metrics(
        metrics,
        classes=labels.take(np.flatnonzero(images.is_query)) if over == "classes" else None,
        gallery_size=int(images.is_gallery.sum()),
        resamples=params.evaluate.bootstrap,
        seed=params.seed,
    )


def _sample(among: Mask, ids: NDArray[np.object_], most: int | None) -> Mask:
    """Return bool [N]: at most this many of those in `among`, sampled by their image_ids."""
    rows = np.flatnonzero(among)
    if most is None or len(rows) <= most:
        return among
    # Not in the order of ties, in which an earlier image is found before a later one.
    order = np.argsort(number_names(ids[rows], key="queries"), kind="stable")
    sampled = np.zeros_like(among)
    sampled[rows[order[:most]]] = True
    return sampled


def _sample_queries(images: EmbeddedSplit, labels: LabelSets, most: int | None) -> EmbeddedSplit:
    sampled, rows = _sample(images.is_query, images.ids, most), np.flatnonzero(images.is_query)
    if sampled is images.is_query:
        return images
    have_relevant = labels.have_relevant(images.is_gallery)
    if have_relevant[rows].any() and not have_relevant[sampled].any():
        raise UserError(
            f"evaluate.queries: found {most}, and none of the queries sampled has another image of "
            "its class in the gallery; allowed: more, or null for all"
        )
    logger.info("evaluate.queries: %d of the %d queries are measured", most, len(rows))
    return replace(images, is_query=sampled)


def _fit_to_gallery(relevance: Relevance, params: Params) -> tuple[list[int], list[int]]:
    """Return evaluate.k and evaluate.knn as far as the gallery allows; at least one of each.

    The default lists must also work for a small gallery.
    """
    k, knn = (
        [each for each in wanted if each <= relevance.max_k] or wanted
        for wanted in (params.evaluate.k, params.evaluate.knn)
    )
    check_sizes(relevance, k=k, knn=knn)
    if k != params.evaluate.k:
        logger.warning(
            "evaluate.k: the gallery has %d images, so that only %s are measured",
            relevance.gallery_size,
            ", ".join(map(str, k)),
        )
    return k, knn


@dataclass(frozen=True)
class _Votes:
    """The k that validation chose for the vote of the neighbors, 0 for none, and the KNN table."""

    k: int
    table: pa.Table

    @property
    def metrics(self) -> MetricsReport:
        return {"knn_k": self.k} if self.k else {}


def _choose_votes(
    images: EmbeddedSplit,
    labels: LabelSets,
    knn: Sequence[int],
    params: Params,
    workers: Workers,
    searched: Searched,
    for_val: Searched,
) -> _Votes:
    # Without validation, as where nothing was trained, no number of neighbors can be chosen.
    if "val" not in images.split:
        return _Votes(0, pa.schema(tables.KNN.columns).empty_table())
    vectors, gallery = images.vectors, images.is_gallery
    among = _sample(images.split == "val", images.ids, params.evaluate.queries)
    val = measure_validation_knn(
        *(vectors, labels, images.split, gallery),
        k=knn,
        among=among,
        searched=for_val,
        workers=workers,
    )
    test = measure_knn(
        vectors, labels, images.is_query, gallery, k=knn, searched=searched, workers=workers
    )
    return _Votes(choose_k(val[params.index.distance]), tabulate_knn(val, test))


def _find_searched(
    postprocessing: Postprocessing, images: EmbeddedSplit, workers: Workers
) -> tuple[Searched, Searched]:
    """Return how test images are searched, and how those of validation."""
    if not postprocessing.is_transductive:
        return AS_EMBEDDED, AS_EMBEDDED
    indexed = (
        vectors_to_index(postprocessing, images, of_validation=of_validation, workers=workers)
        for of_validation in (True, False)
    )
    steps = postprocessing.steps
    test, val = (Searched(vectors, steps.query_expansion, steps.rerank) for vectors in indexed)
    return test, val


def _describe_postprocessing(
    postprocessing: Postprocessing,
    images: EmbeddedSplit,
    labels: LabelSets,
    k: Sequence[int],
    params: Params,
    workers: Workers,
) -> MetricsReport:
    """Return what was done; where other images of the gallery have a part in it, also what is found
    without that, as most published figures are."""
    if postprocessing.is_nothing:
        return {}
    report: MetricsReport = {"postprocessing": postprocessing.steps.describe()}
    if postprocessing.is_transductive:
        plain = measure(
            *(images.vectors, labels, images.is_query, images.is_gallery),
            k=k,
            distance=params.index.distance,
            workers=workers,
        ).means
        report |= {f"{PLAIN}{name}": round(value, DECIMALS) for name, value in plain.items()}
    return report


def _report_nothing(images: EmbeddedSplit, postprocessing: Postprocessing) -> EvaluationResults:
    """Return the results of a dataset without queries, where nothing can be measured."""
    kinds = TABLES | {"knn": tables.KNN}
    empty = {name: (pa.schema(kind.columns).empty_table(), kind) for name, kind in kinds.items()}
    counts: MetricsReport = {"queries": 0, "gallery": int(images.is_gallery.sum())}
    if not postprocessing.is_nothing:
        counts["postprocessing"] = postprocessing.steps.describe()
    return EvaluationResults(metrics=counts, tables=empty)


def _list_tables(
    images: EmbeddedSplit,
    relevance: Relevance,
    metrics: RetrievalMetrics,
    neighbors: Neighbors,
    analysis: FailureAnalysis,
) -> dict[str, tuple[pa.Table, tables.Table]]:
    query_ids, gallery_ids = images.ids[images.is_query], images.ids[images.is_gallery]
    of_neighbors = tabulate_neighbors(neighbors, relevance, query_ids, gallery_ids)
    listed = {
        "neighbors": of_neighbors,
        "queries": tabulate_queries(metrics, query_ids),
        "classes": metrics.by_class.tabulate(),
        "curves": metrics.curves,
        "failures": analysis.failures,
        "successes": analysis.successes,
        "near_duplicates": analysis.near_duplicates,
        "confusions": analysis.confusions,
    }
    return {name: (_sort_by_id(listed[name], kind), kind) for name, kind in TABLES.items()}


def _sort_by_id(table: pa.Table, kind: tables.Table) -> pa.Table:
    # The order of ties is for searching; a person finds a query by its image_id.
    if kind is tables.NEIGHBORS:
        return table.sort_by([("query", "ascending"), ("rank", "ascending")])
    return table.sort_by("image_id") if kind.key == "image_id" else table

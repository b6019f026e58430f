"""The evaluation of one model: its metrics report, and the tables behind it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.config.schema import Params
from pipeline.data import tables
from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.failures import FailureAnalysis, analyze_failures
from pipeline.evaluation.intervals_over import choose_intervals_over
from pipeline.evaluation.knn import choose_k, measure_knn, measure_validation_knn, tabulate_knn
from pipeline.evaluation.measure import check_sizes, measure
from pipeline.evaluation.metrics_report import MetricsReport, report_metrics
from pipeline.evaluation.perceptual_hashes import HashImages
from pipeline.evaluation.result_tables import tabulate_neighbors, tabulate_queries
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics
from pipeline.index.build import check_index, read_index
from pipeline.index.distances import prepare_vectors
from pipeline.index.relevance import Relevance, find_relevance
from pipeline.index.search import Neighbors, index_recall, search_index


@dataclass(frozen=True)
class EvaluationResults:
    """metrics: for metrics/<model>.json. tables: file stem -> a table and its schema."""

    metrics: MetricsReport
    tables: dict[str, tuple[pa.Table, tables.Table]]


def evaluate_model(
    images: EmbeddedSplit, labels: LabelSets, index: Path, hash_images: HashImages, params: Params
) -> EvaluationResults:
    """Return the results of a model by its embeddings and its index.

    labels: of all `images`. index: its directory. hash_images: called for few images.

    Raises:
        UserError: as `check_sizes`, `measure`, `read_index` and `check_index`.
    """
    relevance = find_relevance(labels, images.is_query, images.is_gallery)
    # The default list of k must also work for a small gallery.
    allowed_k = [k for k in params.evaluate.knn if k <= relevance.max_k]
    check_sizes(relevance, k=params.evaluate.k, knn=allowed_k or params.evaluate.knn)
    test = (images.vectors, labels, images.is_query, images.is_gallery)
    val = (images.vectors, labels, images.split, images.is_gallery)
    val_knn = measure_validation_knn(*val, k=allowed_k)
    knn_k = choose_k(val_knn[params.index.distance])
    metrics = measure(
        *test,
        k=params.evaluate.k,
        distance=params.index.distance,
        knn=knn_k,
        triplets=params.evaluate.triplets,
        seed=params.seed,
        nearest=max(params.evaluate.k),
        curves=True,
    )
    metrics, neighbors = _search_index(index, images, relevance, metrics, params)
    over = choose_intervals_over(labels, images.split)
    report = report_metrics(
        metrics,
        classes=labels.take(np.flatnonzero(images.is_query)) if over == "classes" else None,
        gallery_size=relevance.gallery_size,
        resamples=params.evaluate.bootstrap,
        seed=params.seed,
    )
    analysis = analyze_failures(
        metrics,
        images,
        labels,
        hash_images,
        distance=params.index.distance,
        failure_k=params.evaluate.failure_k,
        cosine=params.evaluate.near_duplicate.cosine,
        bits=params.evaluate.near_duplicate.bits,
    )
    knn = tabulate_knn(val_knn, measure_knn(*test, k=allowed_k))
    return EvaluationResults(
        metrics=report | analysis.metrics | {"knn_k": knn_k},
        tables=_list_tables(images, relevance, metrics, neighbors, analysis)
        | {"knn": (knn, tables.KNN)},
    )


def _search_index(
    directory: Path,
    images: EmbeddedSplit,
    relevance: Relevance,
    metrics: RetrievalMetrics,
    params: Params,
) -> tuple[RetrievalMetrics, Neighbors]:
    """Return `metrics` with the index's recall, and the neighbors that the index finds."""
    index, ids = read_index(directory)
    vectors = prepare_vectors(images.vectors, distance=params.index.distance)
    queries, gallery = vectors[images.is_query], vectors[images.is_gallery]
    check_index(directory, index, ids, images, distance=params.index.distance)
    kept = min(params.evaluate.neighbors, metrics.max_k)
    k = max(kept, *params.evaluate.k)
    options = {"distance": params.index.distance}
    neighbors = search_index(index, gallery, queries, relevance.own_rows, k, **options)
    # Also for a flat index, where it is 1: experiments with and without the column could not be
    # compared, and a lower value shows an index that does not belong to these embeddings.
    recalls = {
        f"index_recall_at_{k}": index_recall(
            neighbors.rows, metrics.nearest, k, gallery=gallery, queries=queries, **options
        )
        for k in sorted(set(params.evaluate.k))
    }
    return metrics.with_columns(recalls), Neighbors(
        neighbors.rows[:, :kept], neighbors.scores[:, :kept]
    )


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
        "neighbors": (of_neighbors, tables.NEIGHBORS),
        "queries": (tabulate_queries(metrics, query_ids), tables.QUERIES),
        "classes": (metrics.by_class.tabulate(), tables.CLASS_RESULTS),
        "curves": (metrics.curves, tables.CURVES),
        "failures": (analysis.failures, tables.FAILURES),
        "successes": (analysis.successes, tables.SUCCESSES),
        "near_duplicates": (analysis.near_duplicates, tables.NEAR_DUPLICATES),
        "confusions": (analysis.confusions, tables.CONFUSIONS),
    }
    return {name: (_sort_by_id(table, kind), kind) for name, (table, kind) in listed.items()}


def _sort_by_id(table: pa.Table, kind: tables.Table) -> pa.Table:
    # The order of ties is for searching; a person finds a query by its image_id.
    if kind is tables.NEIGHBORS:
        return table.sort_by([("query", "ascending"), ("rank", "ascending")])
    return table.sort_by("image_id") if kind.key == "image_id" else table

"""All that `evaluate` finds out about one model: its metrics, and the tables behind them."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.config.schema import Params
from pipeline.data import tables
from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.failures import FailureTables, find_failures
from pipeline.evaluation.knn import choose_k, knn_accuracies, knn_on_validation, knn_table
from pipeline.evaluation.measure import Measured, check_sizes, measure
from pipeline.evaluation.perceptual_hashes import HashImages
from pipeline.evaluation.result_tables import metrics_report, neighbors_table, queries_table
from pipeline.index.build import check_index, read_index
from pipeline.index.distances import prepare_vectors
from pipeline.index.relevance import Relevance, find_relevance
from pipeline.index.search import Neighbors, index_recall, search_index


@dataclass(frozen=True)
class EvaluationResults:
    """report: metrics/<model>.json. tables: by file stem, with what each must look like."""

    report: dict[str, float | int]
    tables: dict[str, tuple[pa.Table, tables.Table]]


def evaluate_model(
    images: EmbeddedSplit, labels: LabelSets, index: Path, hash_images: HashImages, params: Params
) -> EvaluationResults:
    """Return the results of a model by its embeddings and its index.

    labels: of all `images`. index: its directory. hash_images: asked for few images.

    Raises:
        UserError: as `check_sizes`, `measure`, `read_index` and `check_index`.
    """
    relevance = find_relevance(labels, images.is_query, images.is_gallery)
    # The default list is to do for a small gallery too.
    fitting = [k for k in params.evaluate.knn if k <= relevance.max_k]
    check_sizes(relevance, k=params.evaluate.k, knn=fitting or params.evaluate.knn)
    test = (images.vectors, labels, images.is_query, images.is_gallery)
    val = (images.vectors, labels, images.split, images.is_gallery)
    knn_on_val = knn_on_validation(*val, k=fitting)
    knn_k = choose_k(knn_on_val[params.index.distance])
    measured = measure(
        *test,
        k=params.evaluate.k,
        distance=params.index.distance,
        knn=knn_k,
        triplets=params.evaluate.triplets,
        seed=params.seed,
        nearest=max(params.evaluate.k),
        curves=True,
    )
    measured, found = _ask_index(index, images, relevance, measured, params)
    report = metrics_report(
        measured,
        gallery=relevance.gallery_size,
        resamples=params.evaluate.bootstrap,
        seed=params.seed,
    )
    cases = find_failures(
        measured,
        images,
        labels,
        hash_images,
        distance=params.index.distance,
        failure_k=params.evaluate.failure_k,
        cosine=params.evaluate.near_duplicate.cosine,
        bits=params.evaluate.near_duplicate.bits,
    )
    knn = knn_table(knn_on_val, knn_accuracies(*test, k=fitting))
    return EvaluationResults(
        report=report | cases.figures | {"knn_k": knn_k},
        tables=_tables(images, relevance, measured, found, cases) | {"knn": (knn, tables.KNN)},
    )


def _ask_index(
    directory: Path, images: EmbeddedSplit, relevance: Relevance, measured: Measured, params: Params
) -> tuple[Measured, Neighbors]:
    """Return `measured` with the index's recall, and the neighbours that the index finds."""
    index, ids = read_index(directory)
    vectors = prepare_vectors(images.vectors, distance=params.index.distance)
    queries, gallery = vectors[images.is_query], vectors[images.is_gallery]
    check_index(index, ids, gallery, images.ids[images.is_gallery], directory=directory)
    kept = min(params.evaluate.neighbors, measured.max_k)
    most = max(kept, *params.evaluate.k)
    options = {"distance": params.index.distance}
    found = search_index(index, gallery, queries, relevance.own_rows, most, **options)
    # Of a flat index too, where it is 1 and says so: a column that some experiments lack cannot
    # be compared, and it would show an index that does not belong to these embeddings.
    recalls = {
        f"index_recall_at_{k}": index_recall(
            found.rows, measured.nearest, k, gallery=gallery, queries=queries, **options
        )
        for k in sorted(set(params.evaluate.k))
    }
    return measured.with_columns(recalls), Neighbors(found.rows[:, :kept], found.scores[:, :kept])


def _tables(
    images: EmbeddedSplit,
    relevance: Relevance,
    measured: Measured,
    found: Neighbors,
    cases: FailureTables,
) -> dict[str, tuple[pa.Table, tables.Table]]:
    query_ids, gallery_ids = images.ids[images.is_query], images.ids[images.is_gallery]
    return {
        "neighbors": (neighbors_table(found, relevance, query_ids, gallery_ids), tables.NEIGHBORS),
        "queries": (queries_table(measured, query_ids), tables.QUERIES),
        "classes": (measured.classes.table(), tables.CLASS_RESULTS),
        "curves": (measured.curves, tables.CURVES),
        "failures": (cases.failures, tables.FAILURES),
        "successes": (cases.successes, tables.SUCCESSES),
        "near_duplicates": (cases.near_duplicates, tables.NEAR_DUPLICATES),
        "confusions": (cases.confusions, tables.CONFUSIONS),
    }

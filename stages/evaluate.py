"""Measure one model's retrieval: metrics with intervals, what each query found, and what failed."""

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

from pipeline import schemas
from pipeline.params import Params
from pipeline.perceptual_hashes import hash_pictures
from pipeline.pictures import PackedPictures
from pipeline.retrieval.alignment import Aligned, read_aligned, read_labels
from pipeline.retrieval.cases import find_cases
from pipeline.retrieval.distances import prepare
from pipeline.retrieval.evaluation import Measured, check_sizes, measure
from pipeline.retrieval.knn import choose_k, knn_accuracies, knn_on_validation, knn_table
from pipeline.retrieval.relevance import Relevance, find_relevance
from pipeline.retrieval.results import metrics_report, neighbors_table, queries_table, write_report
from pipeline.retrieval.search import Found, check_gallery, index_recall, read_index, search_index
from stages.entry import load, run


def main(
    model: Annotated[str, Option(help="name of the model: baseline, finetuned")],
    embeddings: Annotated[Path, Option(help="table of embeddings")],
    splits: Annotated[Path, Option(help="table of splits: who asks, who is searched")],
    catalog: Annotated[Path, Option(help="table of pictures: their labels")],
    images: Annotated[Path, Option(help="directory of packed pictures")],
    index: Annotated[Path, Option(help="directory of the gallery's index")],
    metrics: Annotated[Path, Option(help="JSON of metrics to write")],
    results: Annotated[Path, Option(help="directory of tables to write")],
) -> str:
    params = load()
    pictures = read_aligned(embeddings, splits)
    labels = read_labels(catalog, pictures.ids, asked=splits)
    relevance = find_relevance(labels, pictures.is_query, pictures.is_gallery)
    # The default list is to do for a small gallery too.
    fitting = [k for k in params.evaluate.knn if k <= relevance.most_found]
    check_sizes(relevance, k=params.evaluate.k, knn=fitting or params.evaluate.knn)
    test = (pictures.vectors, labels, pictures.is_query, pictures.is_gallery)
    val = (pictures.vectors, labels, pictures.split, pictures.is_gallery)
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
    measured, found = _ask_index(index, pictures, relevance, measured, params)
    report = metrics_report(
        measured,
        gallery=relevance.gallery,
        resamples=params.evaluate.bootstrap,
        seed=params.seed,
    )
    cases = find_cases(
        measured,
        pictures,
        labels,
        partial(hash_pictures, picture=PackedPictures(images).decode),
        distance=params.index.distance,
        failure_k=params.evaluate.failure_k,
        cosine=params.evaluate.near_duplicate.cosine,
        bits=params.evaluate.near_duplicate.bits,
    )
    query_ids, gallery_ids = pictures.ids[pictures.is_query], pictures.ids[pictures.is_gallery]
    knn = knn_table(knn_on_val, knn_accuracies(*test, k=fitting))
    tables = {
        "neighbors": (neighbors_table(found, relevance, query_ids, gallery_ids), schemas.NEIGHBORS),
        "queries": (queries_table(measured, query_ids), schemas.QUERIES),
        "classes": (measured.classes.table(), schemas.CLASS_RESULTS),
        "curves": (measured.curves, schemas.CURVES),
        "knn": (knn, schemas.KNN),
        "failures": (cases.failures, schemas.FAILURES),
        "successes": (cases.successes, schemas.SUCCESSES),
        "near_duplicates": (cases.near_duplicates, schemas.NEAR_DUPLICATES),
        "confusions": (cases.confusions, schemas.CONFUSIONS),
    }
    for name, (table, kind) in tables.items():
        schemas.write_table(table, results / f"{name}.parquet", kind)
    write_report(metrics, report | cases.figures | {"knn_k": knn_k})
    return model


def _ask_index(
    directory: Path, pictures: Aligned, relevance: Relevance, measured: Measured, params: Params
) -> tuple[Measured, Found]:
    """Return `measured` with the index's recall, and the neighbours that the index finds."""
    index, ids = read_index(directory)
    vectors = prepare(pictures.vectors, distance=params.index.distance)
    queries, gallery = vectors[pictures.is_query], vectors[pictures.is_gallery]
    check_gallery(index, ids, gallery, pictures.ids[pictures.is_gallery], where=directory)
    kept = min(params.evaluate.neighbors, measured.most_found)
    most = max(kept, *params.evaluate.k)
    options = {"distance": params.index.distance}
    found = search_index(index, gallery, queries, relevance.own, most, **options)
    # Of a flat index too, where it is 1 and says so: a column that some experiments lack cannot
    # be compared, and it would show an index that does not belong to these embeddings.
    recalls = {
        f"index_recall_at_{k}": index_recall(
            found.rows, measured.nearest, k, gallery=gallery, queries=queries, **options
        )
        for k in sorted(set(params.evaluate.k))
    }
    return measured.with_columns(recalls), Found(found.rows[:, :kept], found.scores[:, :kept])


if __name__ == "__main__":
    run(main, "evaluate")

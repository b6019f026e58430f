"""Exact evaluation compared with a plain numpy argsort, for several numbers of images.

    python -m benchmarks.evaluation            # 2,000 to 20,000 images
    python -m benchmarks.evaluation 60502      # the size of Stanford Online Products' test split

Embeddings are random: 128-d, about 5.3 images per class as in SOP (60,502 images of 11,316
classes). Each size runs in a fresh process, to measure its peak memory. The argsort sorts the whole
gallery for at most 1,000 queries; for more, its time is extrapolated and marked.
"""

import sys

import numpy as np

from benchmarks.timing import peak_mib, run_in_fresh_process, time_call
from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.measure import measure
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics

SIZES = (2000, 5000, 10_000, 20_000)
DIMENSION = 128
IMAGES_A_CLASS = 60502 / 11316
SORTED_QUERIES = 1000
K = (1, 10, 100, 1000)


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    print("images  measure s  with curves s  argsort s  ratio  peak MiB  recall_at_1 (both)")
    for size in sizes:
        print(run_in_fresh_process(compare, size), flush=True)


def compare(size: int) -> str:
    """Return one line of the table, for `size` images that are all queries and gallery."""
    vectors, labels = make_images(size)
    measure_images(*make_images(1001), curves=True)  # compiles the loops
    plain, metrics = time_call(lambda: measure_images(vectors, labels, curves=False))
    peak = peak_mib()
    curves, _ = time_call(lambda: measure_images(vectors, labels, curves=True))
    queries = min(size, SORTED_QUERIES)
    seconds, first = time_call(lambda: sort_images(vectors, labels, queries))
    sort = seconds * size / queries
    mark = "" if queries == size else f" (extrapolated from {queries} queries)"
    recall = np.nanmean(metrics.per_query["recall_at_1"][:queries])
    return (
        f"{size:8d}  {plain:9.2f}  {curves:13.2f}  {sort:9.2f}  {sort / plain:5.1f}  {peak:8.0f}  "
        f"{recall:.4f} {first:.4f}{mark}"
    )


def make_images(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (float32 [size, 128], int32 [size]): the centre of each class plus noise."""
    rng = np.random.default_rng(0)
    classes = max(2, round(size / IMAGES_A_CLASS))
    labels = rng.integers(0, classes, size).astype(np.int32)
    centres = rng.standard_normal((classes, DIMENSION), dtype=np.float32)
    noise = rng.standard_normal((size, DIMENSION), dtype=np.float32)
    return centres[labels] + 1.5 * noise, labels


def measure_images(vectors: np.ndarray, labels: np.ndarray, *, curves: bool) -> RetrievalMetrics:
    all_images = np.ones(len(labels), dtype=bool)
    sets = LabelSets(np.arange(len(labels) + 1), labels)
    return measure(
        vectors,
        sets,
        all_images,
        all_images,
        k=K,
        distance="cosine",
        knn=5,
        triplets=4,
        curves=curves,
    )


def sort_images(vectors: np.ndarray, labels: np.ndarray, queries: int) -> float:
    """Return recall_at_1 of the first `queries` images, by sorting the gallery for each."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    hits, counted = 0, 0
    for start in range(0, queries, 100):
        rows = np.arange(start, min(start + 100, queries))
        scores = unit[rows] @ unit.T
        scores[np.arange(len(rows)), rows] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :-1]
        relevant = labels[order] == labels[rows][:, None]
        has_relevant = relevant.any(axis=1)
        hits += relevant[has_relevant, 0].sum()
        counted += has_relevant.sum()
    return float(hits / counted)


if __name__ == "__main__":
    main()

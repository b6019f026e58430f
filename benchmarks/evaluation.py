"""Exact evaluation beside a plain numpy argsort, on growing samples, in one run.

    python -m benchmarks.evaluation            # 2,000 to 20,000 images
    python -m benchmarks.evaluation 60502      # the size of Stanford Online Products' test split

Images are drawn: 128-d, about 5.3 of a class as in SOP (60,502 of 11,316 classes). Each size runs
in a process of its own, so that its peak memory is its own. The baseline sorts whole rows of the
gallery, for at most 1,000 queries; with more, its time is extrapolated, and marked so.
"""

import resource
import sys
import time
from multiprocessing import get_context

import numpy as np

from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.measure import measure

SIZES = (2000, 5000, 10_000, 20_000)
DIMENSION = 128
IMAGES_A_CLASS = 60502 / 11316
SORTED_QUERIES = 1000
K = (1, 10, 100, 1000)


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    print("images  measure s  with curves s  argsort s  ratio  peak MiB  recall_at_1 (both)")
    for size in sizes:
        with get_context("spawn").Pool(1) as pool:
            print(pool.apply(compare, (size,)), flush=True)


def compare(size: int) -> str:
    """Return one line of the table for `size` images that all ask and are all searched."""
    vectors, labels = draw_images(size)
    measure_images(*draw_images(1001), curves=True)  # compiles
    plain, measured = timed(lambda: measure_images(vectors, labels, curves=False))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    curves, _ = timed(lambda: measure_images(vectors, labels, curves=True))
    asked = min(size, SORTED_QUERIES)
    seconds, first = timed(lambda: sort_images(vectors, labels, asked))
    sort = seconds * size / asked
    mark = "" if asked == size else f" (extrapolated from {asked} queries)"
    recall = np.nanmean(measured.per_query["recall_at_1"][:asked])
    return (
        f"{size:8d}  {plain:9.2f}  {curves:13.2f}  {sort:9.2f}  {sort / plain:5.1f}  {peak:8.0f}  "
        f"{recall:.4f} {first:.4f}{mark}"
    )


def draw_images(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (float32 [size, 128], int32 [size]): noisy copies of one centre a class."""
    rng = np.random.default_rng(0)
    classes = max(2, round(size / IMAGES_A_CLASS))
    labels = rng.integers(0, classes, size).astype(np.int32)
    centres = rng.standard_normal((classes, DIMENSION), dtype=np.float32)
    noise = rng.standard_normal((size, DIMENSION), dtype=np.float32)
    return centres[labels] + 1.5 * noise, labels


def measure_images(vectors: np.ndarray, labels: np.ndarray, *, curves: bool):
    everyone = np.ones(len(labels), dtype=bool)
    sets = LabelSets(np.arange(len(labels) + 1), labels)
    return measure(
        vectors,
        sets,
        everyone,
        everyone,
        k=K,
        distance="cosine",
        knn=5,
        triplets=4,
        curves=curves,
    )


def sort_images(vectors: np.ndarray, labels: np.ndarray, asked: int) -> float:
    """Return recall_at_1 of the first `asked` queries by sorting: the peer's least work."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    hits, found = 0, 0
    for start in range(0, asked, 100):
        rows = np.arange(start, min(start + 100, asked))
        scores = unit[rows] @ unit.T
        scores[np.arange(len(rows)), rows] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :-1]
        relevant = labels[order] == labels[rows][:, None]
        answerable = relevant.any(axis=1)
        hits += relevant[answerable, 0].sum()
        found += answerable.sum()
    return float(hits / found)


def timed(call):
    started = time.perf_counter()
    value = call()
    return time.perf_counter() - started, value


if __name__ == "__main__":
    main()

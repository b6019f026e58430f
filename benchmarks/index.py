"""What an approximate index costs and finds, beside the exact one.

    python -m benchmarks.index                       # 1,100,000 vectors of 128 dimensions
    python -m benchmarks.index 200000 HNSW32 IVF1024,Flat

Vectors of classes of 10, which lie on a curved surface of 16 dimensions as embeddings do on one of
few; of plain noise, no index finds neighbors without looking at nearly all. Each index is built,
told how thoroughly to search by 1,000 of them (`index.recall` 0.95), written and mapped as the
stage does, and searched for 1,000 others, one at a time on one core.
"""

import stages  # noqa: F401, I001 - first: it tells numpy which bits to compute

import sys
import tempfile
from pathlib import Path

import faiss
import numpy as np
import psutil

from benchmarks.timing import run_in_fresh_process, time_call
from pipeline.data.arrays import Ints, Vectors
from pipeline.index.build import INDEX_FILE, build_index, read_index, write_index
from pipeline.index.effort import choose_effort, find_effort, is_exact
from pipeline.index.kinds import choose_factory
from pipeline.index.search import index_recall
from pipeline.machine import describe_machine

IMAGES, DIMENSION, SURFACE, PER_CLASS, QUERIES, K = 1_100_000, 128, 16, 10, 1_000, 10


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    processor, load = describe_machine("portable")["processor"], psutil.getloadavg()[0]
    print(f"{processor}, {len(psutil.Process().cpu_affinity())} cores, load {load:.1f}")
    print(f"{images:,} vectors of {DIMENSION} dimensions")
    print("factory                  build s  bytes a vector  recall@10  ms a query  searched by")
    for factory in ["Flat", *(sys.argv[2:] or ["auto"])]:
        print(run_in_fresh_process(measure, images, factory), flush=True)


def measure(images: int, factory: str) -> str:
    vectors = make_vectors(images)
    factory = choose_factory(factory, images=images, dimension=DIMENSION)
    rows = np.random.default_rng(1).choice(images, 2 * QUERIES, replace=False)
    chosen_by, queries = rows[:QUERIES], rows[QUERIES:]
    seconds, index = time_call(build_index, vectors, factory=factory, distance="cosine", seed=7)
    if not is_exact(index):
        more, _ = time_call(
            choose_effort, index, vectors, chosen_by, distance="cosine", recall=0.95
        )
        seconds += more
    with tempfile.TemporaryDirectory() as folder:
        write_index(Path(folder), index, [str(row) for row in range(images)])
        size = (Path(folder) / INDEX_FILE).stat().st_size / images
        mapped, _ = read_index(Path(folder))
        faiss.omp_set_num_threads(1)
        mapped.search(vectors[queries[:10]], K)
        found, taken = np.empty((QUERIES, K), np.int64), 0.0
        for place, query in enumerate(queries):
            each, (_, nearest) = time_call(mapped.search, vectors[query : query + 1], K)
            found[place], taken = nearest[0], taken + each
        recall = measure_recall(found, vectors, queries)
        knobs = " ".join(f"{knob.name} {knob.value}" for knob in find_effort(mapped))
    each = 1000 * taken / QUERIES
    return f"{factory:24} {seconds:7.1f} {size:15.0f} {recall:10.3f} {each:11.2f}  {knobs}"


def make_vectors(images: int) -> Vectors:
    """Return float32 [N, 128] of length 1."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((-(-images // PER_CLASS), SURFACE), dtype=np.float32)
    places = np.repeat(centres, PER_CLASS, axis=0)[:images]
    places += 0.3 * rng.standard_normal(places.shape, dtype=np.float32)
    vectors = np.tanh(places @ rng.standard_normal((SURFACE, DIMENSION), dtype=np.float32) / 2)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def measure_recall(found: Ints, vectors: Vectors, queries: Ints) -> float:
    _, exact = faiss.knn(vectors[queries], vectors, K, metric=faiss.METRIC_INNER_PRODUCT)
    recalls = index_recall(
        found, exact, K, gallery=vectors, queries=vectors[queries], distance="cosine"
    )
    return float(recalls.mean())


if __name__ == "__main__":
    main()

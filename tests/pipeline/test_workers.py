"""Work on parts by several processes: all results, in order, what is shared read once."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.label_sets import LabelSets
from pipeline.evaluation.measure import measure
from pipeline.mining.by_embeddings import mine_by_embeddings
from pipeline.mining.by_labels import mine_by_labels
from pipeline.stopping import WorkerPool
from pipeline.workers import HERE, Workers


class Shared:
    """Work that says how often this process has unpickled it."""

    read = 0

    def __setstate__(self, _: object) -> None:
        Shared.read += 1

    def __getstate__(self) -> object:
        return {"a": 1}

    def __call__(self, number: int) -> tuple[int, int, int]:
        return number, os.getpid(), Shared.read


def test_results_are_in_order_and_each_process_reads_the_work_once(tmp_path: Path) -> None:
    with WorkerPool(2) as pool:
        workers = Workers(pool, tmp_path)
        done = list(workers.map(Shared(), range(600)))
        assert [number for number, _, _ in done] == list(range(600))
        assert {pid for _, pid, _ in done} & {os.getpid()} == set()
        assert {read for _, _, read in done} == {1}
        # The next work is another, though it is equal.
        assert {read for _, _, read in workers.map(Shared(), range(4))} == {2}
        assert workers.call(abs, -3) == 3
    assert list(tmp_path.iterdir()) == []


def test_here_no_process_is_started_and_nothing_is_pickled() -> None:
    assert HERE.are_here
    assert list(HERE.map(lambda number: (number, os.getpid()), range(2))) == [
        (0, os.getpid()),
        (1, os.getpid()),
    ]
    assert HERE.call(abs, -3) == 3


def test_what_one_part_raises_is_raised_here(tmp_path: Path) -> None:
    with WorkerPool(2) as pool, pytest.raises(ValueError, match="invalid literal"):
        list(Workers(pool, tmp_path).map(int, ["1", "one", "2"]))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def labels() -> LabelSets:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 4, 1500)
    values = [np.sort(rng.choice(30, count, replace=False)) for count in counts]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return LabelSets(starts, np.concatenate(values).astype(np.int32))


@pytest.fixture(scope="module")
def vectors(labels: LabelSets) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return np.random.default_rng(1).standard_normal((len(labels), 8)).astype(np.float32)


@pytest.mark.slow
def test_mining_and_measures_are_the_same_by_any_number_of_processes(
    tmp_path: Path,
    labels: LabelSets,
    vectors: "np.ndarray[tuple[int, int], np.dtype[np.float32]]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.index.query_blocks.MAX_QUERIES", 200)
    everything = np.ones(len(labels), dtype=bool)

    def all_of_it(workers: Workers) -> bytes:
        options = {"per_anchor": 2, "distance": "euclidean", "seed": 3, "workers": workers}
        return pickle.dumps(
            [
                mine_by_embeddings(
                    vectors, labels, positives="hard", negatives="semi_hard", **options
                ),
                mine_by_labels(labels, **options),
                mine_by_labels(labels, vectors, **options),
                mine_by_labels(labels, vectors, pool=4, **options),
                measure(
                    *(vectors, labels, everything, everything),
                    k=[1, 5],
                    distance="cosine",
                    knn=3,
                    triplets=2,
                    curves=True,
                    workers=workers,
                ).per_query,
            ]
        )

    alone = all_of_it(HERE)
    with WorkerPool(2) as pool:
        assert all_of_it(Workers(pool, tmp_path)) == alone

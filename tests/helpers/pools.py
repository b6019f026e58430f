"""The worker processes of stages that tests run in this process, where none has to be started.

Each would import the libraries of its stage, which takes seconds. That pools of processes give the
same is tested in tests/pipeline/test_workers.py and in clones (tests/helpers/clone.py).
"""

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


class PoolHere(Executor):
    """In place of a `WorkerPool`: it does the work at once, in this process.

    As there, work and results must be picklable, and neither is shared with the caller.
    """

    def __init__(self, processes: int) -> None:
        """`processes` is as of a `WorkerPool`."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        sent = pickle.dumps((function, args, options))
        try:
            work, parts, how = pickle.loads(sent)  # noqa: S301 - of above
            done.set_result(pickle.loads(pickle.dumps(work(*parts, **how))))  # noqa: S301
        except Exception as error:
            done.set_exception(error)
        return done


@contextmanager
def pools_here() -> Iterator[None]:
    """Let stages in the block start no pool of processes."""
    with (
        patch("stages.cluster.WorkerPool", PoolHere),
        patch("pipeline.figures.projections.WorkerPool", PoolHere),
    ):
        yield

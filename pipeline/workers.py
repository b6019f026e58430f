"""The same work on many parts, by processes that are each given what all parts share only once.

They are those of a `concurrent.futures.Executor`: a pool on this machine, or a cluster. What they
return depends on the work and the part alone, not on who did it or in which order.
"""

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.data.files import unfinished_in

P = TypeVar("P")
R = TypeVar("R")

# The parts that wait, are worked on, or are done before an earlier one.
PARTS_AT_ONCE = 256


@dataclass(frozen=True)
class Workers:
    """The processes of `executor`; none but this one if it is None.

    folder: one that all of them can read, where the work is written.
    """

    executor: Executor | None = None
    folder: Path = Path()

    @property
    def are_here(self) -> bool:
        """Whether there is no other process than this one."""
        return self.executor is None

    def call(self, work: Callable[[P], R], part: P) -> R:
        """Return work(part), by one of the processes."""
        return work(part) if self.executor is None else self.executor.submit(work, part).result()

    def map(self, work: Callable[[P], R], parts: Iterable[P]) -> Iterator[R]:
        """Yield work(part) of each part, in order.

        work: a picklable callable, with all that it needs for any part. A part may be worked on
        twice, where a process was lost: what it writes must then be the same, and whole.
        """
        if self.executor is None:
            yield from map(work, parts)
            return
        with unfinished_in(self.folder) as folder:
            path = folder.absolute() / "work.pickle"
            with path.open("wb") as file:
                pickle.dump(work, file, protocol=5)  # arrays without a second copy in memory
            do = partial(_do, path)
            yield from map_in_order(self.executor, do, parts, at_once=PARTS_AT_ONCE)


HERE = Workers()


def map_in_order(
    executor: Executor, work: Callable[[P], R], parts: Iterable[P], *, at_once: int
) -> Iterator[R]:
    """Yield work(part) of each part, in order.

    at_once: how many parts wait, are worked on, or are done before an earlier one. An executor's
    own `map` submits all of them at first.
    """
    waiting: deque[Future[R]] = deque()
    for part in parts:
        waiting.append(executor.submit(work, part))
        if len(waiting) == at_once:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _do(path: Path, part: Any) -> Any:
    return _read_work(path)(part)


class _Read:
    """The last work that this process read."""

    path: Path | None = None
    work: Callable[[Any], Any] | None = None


def _read_work(path: Path) -> Callable[[Any], Any]:
    """Return the work at `path`, which is of one run alone, so each process reads it once."""
    if _Read.path != path or _Read.work is None:
        _Read.path = _Read.work = None  # before the next is read: either may be large
        with path.open("rb") as file:
            _Read.work = pickle.load(file)  # noqa: S301 (written above)
        _Read.path = path
    work: Callable[[Any], Any] = _Read.work  # type: ignore[assignment]
    return work

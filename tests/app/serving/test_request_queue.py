"""The line of those who search."""

import asyncio
import threading

import pytest

from app.serving.request_queue import QueueFullError, RequestQueue
from tests.helpers.serving import PATIENCE


def test_only_so_many_work_at_once_and_all_get_their_own_answer() -> None:
    lock, now, most = threading.Lock(), 0, 0
    several = threading.Barrier(2)

    def job(number: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        several.wait(PATIENCE)  # two are really here at once, or this fails
        with lock:
            now -= 1
        return number

    async def ask_all() -> list[int]:
        line = RequestQueue(at_once=2, places=20)
        return await asyncio.gather(*(line.work(lambda n=n: job(n)) for n in range(20)))

    assert asyncio.run(ask_all()) == list(range(20))
    assert most == 2


def test_a_place_is_free_again_when_its_holder_has_left_or_failed() -> None:
    line = RequestQueue(at_once=1, places=1)
    with line.place(), pytest.raises(QueueFullError), line.place():
        pass
    with pytest.raises(ZeroDivisionError), line.place():
        raise ZeroDivisionError
    with line.place():
        pass

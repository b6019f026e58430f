"""The request queue."""

import asyncio
import threading

import pytest

from app.serving.request_queue import QueueFullError, RequestQueue
from tests.helpers.serving import TIMEOUT


def test_only_max_running_jobs_run_at_a_time_and_each_request_gets_its_own_result() -> None:
    lock, now, most = threading.Lock(), 0, 0
    several = threading.Barrier(2)

    def job(number: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        several.wait(TIMEOUT)  # fails unless two run at the same time
        with lock:
            now -= 1
        return number

    async def run_all() -> list[int]:
        queue = RequestQueue(max_running=2, max_admitted=20)
        return await asyncio.gather(*(queue.run(lambda n=n: job(n)) for n in range(20)))

    assert asyncio.run(run_all()) == list(range(20))
    assert most == 2


def test_a_request_that_has_ended_or_failed_makes_room_for_another() -> None:
    queue = RequestQueue(max_running=1, max_admitted=1)
    with queue.admit(), pytest.raises(QueueFullError), queue.admit():
        pass
    with pytest.raises(ZeroDivisionError), queue.admit():
        raise ZeroDivisionError
    with queue.admit():
        pass

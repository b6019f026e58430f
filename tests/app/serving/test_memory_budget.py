"""The budget of memory that requests share."""

import asyncio
import subprocess
import sys

import pytest

from app.serving.memory_budget import MemoryBudget
from tests.helpers.paths import ROOT


def run_in_turn(total: int, *counts: int) -> list[set[int]]:
    """Return which requests, by number, have their memory at a time, as they end one by one."""

    async def main() -> list[set[int]]:
        budget, have, seen = MemoryBudget(total), set[int](), []
        ends = [asyncio.Event() for _ in counts]

        async def request(number: int) -> None:
            async with budget.reserve(counts[number]):
                have.add(number)
                await ends[number].wait()
                have.remove(number)

        requests = [asyncio.create_task(request(number)) for number in range(len(counts))]
        while not all(each.done() for each in requests):
            await asyncio.sleep(0.01)
            seen.append(set(have))
            ends[min(have)].set()
            await asyncio.sleep(0.01)
        return seen

    return asyncio.run(main())


def test_requests_wait_until_there_is_enough_and_in_order() -> None:
    """The small last one does not pass the large one, which would otherwise wait for ever."""
    assert run_in_turn(10, 4, 4, 9, 1) == [{0, 1}, {1}, {2, 3}, {3}]


def test_more_than_there_is_means_all() -> None:
    assert run_in_turn(10, 1, 99, 1) == [{0}, {1}, {2}]


def test_who_fails_or_is_cancelled_gives_back_what_he_had() -> None:
    async def main() -> None:
        budget = MemoryBudget(10)

        async def hold() -> None:
            async with budget.reserve(10):
                await asyncio.Event().wait()

        held, waiting = asyncio.create_task(hold()), asyncio.create_task(hold())
        await asyncio.sleep(0.01)
        waiting.cancel()
        held.cancel()
        async with asyncio.timeout(30), budget.reserve(10):
            assert held.cancelled()
            assert waiting.cancelled()

    asyncio.run(main())


KEPT = """
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from app.serving.memory_budget import return_freed_memory
from tests.helpers.memory import read_memory

def search(small):
    large = Image.new("RGB", (2_000, 2_000), "red")  # one block of 16 MB
    small.append(bytearray(50_000))  # a block behind it, such as one of the response
    large.load()

return_freed_memory()
small = []
before = read_memory("self", "VmRSS")
with ThreadPoolExecutor(1) as pool:
    for _ in range(3):
        pool.submit(search, small).result()
    print(read_memory("self", "VmRSS") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells a process's memory")
def test_a_thread_keeps_nothing_of_an_image_that_it_has_decoded() -> None:
    command = [sys.executable, "-c", KEPT]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert int(done.stdout) < 4 * 2**20

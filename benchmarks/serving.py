"""The search page's server under load: people at once, the worst uploads, and slow connections.

    python -m benchmarks.serving                # a small project of drawn images, made first
    python -m benchmarks.serving PROJECT        # another one, such as . after dvc repro

The server runs in a process of its own. It prints the milliseconds of searches of one person and of
twenty, who search one after the other by photos of 12 and 0.8 megapixels and by images of the
catalog; what memory it takes above its start for the worst upload of each format, alone and six at
a time; and the milliseconds of searches while 48 connections send a byte of an upload and 300 send
half a head. Ratios are of one run, so that a busy machine matters less.
"""

import app  # noqa: F401, I001 - first: it tells numpy and torch which bits to compute

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from tests.helpers.searchable import build
from tests.helpers.server_load import (
    HALF,
    HALF_HEADS,
    PEOPLE,
    SLOW,
    SLOW_SENDERS,
    Request,
    Server,
    by_photo,
    connections,
    running_server,
    search_in_turn,
    usual_requests,
    worst_uploads,
)
from tests.helpers.serving import open_client

SEARCHES = 20  # of each person
REPEATS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(sys.argv[1]) if len(sys.argv) > 1 else build(Path(folder))
        with running_server(project) as server:
            print(f"load of the machine: {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores")
            requests = usual_requests(server.address)
            for _ in range(REPEATS):
                compare_people(server, requests)
            search_beside_slow_connections(server, requests)
            for name, photo in worst_uploads():
                measure_upload(server, name, photo)
        print(f"load of the machine: {os.getloadavg()[0]:.1f}")


def compare_people(server: Server, requests: list[Request]) -> None:
    one = search_in_turn(server.address, requests, people=1, each=SEARCHES)
    all_of_them = search_in_turn(server.address, requests, people=PEOPLE, each=SEARCHES)
    ratio = np.percentile(all_of_them, 95) / np.percentile(one, 95)
    print(f"one person: {describe(one)}; {PEOPLE}: {describe(all_of_them)}; p95: {ratio:.1f} times")


def search_beside_slow_connections(server: Server, requests: list[Request]) -> None:
    with (
        connections(server.address, SLOW_SENDERS, SLOW),
        connections(server.address, HALF_HEADS, HALF),
    ):
        seconds = search_in_turn(server.address, requests, people=1, each=SEARCHES)
    print(f"beside {SLOW_SENDERS} slow senders and {HALF_HEADS} half heads: {describe(seconds)}")


def measure_upload(server: Server, name: str, photo: bytes) -> None:
    def upload(count: int) -> None:
        with open_client(server.address) as client, ThreadPoolExecutor(count) as people:
            answers = people.map(lambda _: by_photo(photo)(client), range(count))
            statuses.update(each.status_code for each in answers)

    statuses: set[int] = set()
    peaks = [server.peak_above_start(partial(upload, count)) / 1e6 for count in (1, 6)]
    print(
        f"{name}: {len(photo) / 1e6:.1f} MB, answered {sorted(statuses)}; "
        f"+{peaks[0]:.0f} MB alone, +{peaks[1]:.0f} MB six at a time"
    )


def describe(seconds: list[float]) -> str:
    median, most = np.percentile(seconds, [50, 95]) * 1000
    return f"p50 {median:.0f} ms, p95 {most:.0f} ms"


if __name__ == "__main__":
    main()

"""The server in a process of its own, under loads that stopped it once."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree, rmtree

import numpy as np
import pytest
from PIL import Image

from tests.helpers.encoded_images import encode, header_of
from tests.helpers.server_load import (
    HALF,
    HALF_HEADS,
    PEOPLE,
    SLOW,
    SLOW_SENDERS,
    Server,
    by_photo,
    connections,
    running_server,
    search_in_turn,
    usual_requests,
    worst_uploads,
)
from tests.helpers.serving import open_client

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells a process's memory")
MOST = 300_000_000  # bytes above the start


@pytest.fixture(scope="module")
def project(searchable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(copytree(searchable, tmp_path_factory.mktemp("load") / "project"))


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    with running_server(project) as running:
        yield running


def upload(server: Server, photo: bytes, *, times: int) -> set[int]:
    """Return the statuses of a photo that is sent several times at once."""
    with open_client(server.address) as client, ThreadPoolExecutor(times) as people:
        answers = people.map(lambda _: by_photo(photo)(client), range(times))
        return {each.status_code for each in answers}


@pytest.mark.slow
def test_a_hundred_megapixels_in_a_few_bytes_take_no_memory(server: Server) -> None:
    for photo in (
        header_of("PNG", 10_000, 10_000),
        encode("PNG", Image.new("1", (10_000, 10_000))),
    ):
        statuses: set[int] = set()
        peak = server.peak_above_start(lambda: statuses.update(upload(server, photo, times=6)))  # noqa: B023
        assert statuses == {400}
        assert peak < 100_000_000


@pytest.mark.slow
def test_searches_go_on_beside_a_few_slow_connections(server: Server) -> None:
    requests = usual_requests(server.address, pixels=1_000_000)
    with connections(server.address, 12, SLOW), connections(server.address, 30, HALF) as heads:
        assert max(search_in_turn(server.address, requests, people=2, each=4)) < 30
        assert {each.recv(9) for each in heads} == {b""}  # after 10 s


@pytest.mark.long
def test_the_worst_uploads_take_no_more_memory_than_is_promised(server: Server) -> None:
    for name, photo in worst_uploads():
        for times in (1, 6):
            statuses: set[int] = set()
            peak = server.peak_above_start(
                lambda: statuses.update(upload(server, photo, times=times))  # noqa: B023
            )
            assert statuses == {400 if "100" in name else 200}, name
            assert peak < MOST, f"{name}, {times} at a time: {peak / 1e6:.0f} MB"


@pytest.mark.long
def test_searches_go_on_beside_many_slow_connections(server: Server) -> None:
    """48 and 300; once, all searches waited for 60 s."""
    requests = usual_requests(server.address)
    alone = search_in_turn(server.address, requests, people=1, each=20)
    with (
        connections(server.address, SLOW_SENDERS, SLOW) as slow,
        connections(server.address, HALF_HEADS, HALF) as heads,
    ):
        beside = search_in_turn(server.address, requests, people=1, each=20)
        assert {each.recv(12) for each in slow} == {b"HTTP/1.1 408"}
        assert {each.recv(9) for each in heads} == {b""}
    assert np.percentile(beside, 95) < 10 * np.percentile(alone, 95)


@pytest.mark.long
def test_twenty_people_wait_at_most_ten_times_as_long_as_one(server: Server) -> None:
    """The best of three: other programs of this machine take time from some."""
    requests = usual_requests(server.address)
    ratios = []
    for _ in range(3):
        one, all_of_them = (
            search_in_turn(server.address, requests, people=people, each=20)
            for people in (1, PEOPLE)
        )
        ratios.append(np.percentile(all_of_them, 95) / np.percentile(one, 95))
    assert min(ratios) < 10, ratios


@pytest.mark.long
def test_twenty_people_search_on_while_the_index_is_removed_and_comes_back(
    server: Server, project: Path, searchable: Path
) -> None:
    requests = usual_requests(server.address, pixels=1_000_000)
    with ThreadPoolExecutor(1) as pool:
        searched = pool.submit(search_in_turn, server.address, requests, people=PEOPLE, each=40)
        while not searched.done():
            for name in ("index", "models", "embeddings", "data"):
                rmtree(project / name)
                copytree(searchable / name, project / name)
        assert len(searched.result()) == 40 * PEOPLE
    assert "Traceback" not in (project / "serve.log").read_text()

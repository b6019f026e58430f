"""Stages on a real Dask cluster: the same bytes, whoever computes them; and what it refuses."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import psutil
import pytest

from pipeline.config.load import read_params, read_yaml
from pipeline.errors import UserError
from pipeline.portable_bits import SETTINGS
from stages import cluster
from stages.cluster import open_workers
from stages.worker import listen_towards
from tests.helpers.clone import change_params, copy_clone, dvc
from tests.helpers.cluster import DiesOnce, LocalCluster, local_cluster
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A scheduler; each test ends the workers that it starts."""
    with local_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def place(empty: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose params.yaml names the cluster, in which the test runs with its settings."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    change_params(tmp_path, {"cluster": empty.address})
    monkeypatch.chdir(tmp_path)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def workers(empty: LocalCluster) -> Iterator[LocalCluster]:
    """The cluster, for tests that start workers, which end after the test."""
    yield empty
    for process in empty.started:
        process.terminate()
        process.wait(20)
    empty.started.clear()


def refusal(place: Path) -> list[str]:
    """Return the lines that `open_workers` raises."""
    with (
        pytest.raises(UserError) as raised,
        open_workers(read_params(place / "params.yaml"), place),
    ):
        pass
    return str(raised.value).splitlines()


def test_two_workers_do_all_parts_in_order_though_one_is_killed(
    workers: LocalCluster, place: Path
) -> None:
    workers.start_worker(count=2)
    before = workers.workers()
    assert len(before) == 2
    with open_workers(read_params(place / "params.yaml"), place) as them:
        assert them.call(Path.exists, Path("params.yaml"))  # relative to the folder of this process
        done = list(them.map(DiesOnce(place / "died", 40), range(300)))
    assert (place / "died").exists()
    assert [result for result, _ in done] == [2 * number for number in range(300)]
    # What the killed one had done and not yet sent is done again, perhaps all of it, by others.
    assert len({pid for _, pid in done}) > 1
    assert [path.name for path in place.iterdir() if path.is_dir()] == []


def kill_one_while_packing(workers: LocalCluster, place: Path, ended: threading.Event) -> None:
    while not ended.wait(0.002):
        if any(place.glob("data/.unfinished-*/.unfinished-*/8")):  # the second file of images
            psutil.Process(workers.workers()[0]).kill()
            (place / "killed").touch()
            return


def test_the_stages_write_the_same_bytes_on_a_cluster_that_loses_a_worker(
    workers: LocalCluster, tmp_path: Path, first_run: Path
) -> None:
    """Real DVC, stages, scheduler and workers."""
    clone = copy_clone(first_run, tmp_path / "lookalike")
    before = read_yaml(clone / "dvc.lock")["stages"]
    change_params(clone, {"cluster": workers.address})
    workers.start_worker(count=2)
    ended = threading.Event()
    killer = threading.Thread(target=kill_one_while_packing, args=(workers, clone, ended))
    killer.start()
    ran = dvc(
        clone,
        *("repro", "--force", "--single-item"),
        *("download", "embed@finetuned", "evaluate@finetuned"),
    )
    ended.set()
    killer.join()
    assert ran.returncode == 0, ran.stderr
    assert (clone / "killed").exists()
    printed = ran.stdout + ran.stderr
    assert len(re.findall(rf"cluster: \d workers of {workers.address}", printed)) == 3, printed
    after = read_yaml(clone / "dvc.lock")["stages"]
    for stage in ("download", "embed@finetuned", "evaluate@finetuned"):
        assert after[stage]["outs"] == before[stage]["outs"], stage


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("tcp://127.0.0.1:9", "[Errno 111] Connection refused"),
        (
            "tls://127.0.0.1:9",
            "without distributed.comm.tls.client.cert in Dask's configuration",
        ),
        ("tcp://127.0.0.1:port", "Port could not be cast to integer value as 'port'"),
    ],
)
def test_without_a_scheduler_there_is_one_line(place: Path, address: str, why: str) -> None:
    change_params(place, {"cluster": address})
    assert refusal(place) == [
        f"cluster: no Dask scheduler answers at '{address}' ({why}); allowed: the address of one, "
        "such as tcp://10.0.0.1:8786, or null, which is this machine alone"
    ]


@pytest.mark.usefixtures("workers")
def test_without_a_worker_there_is_one_line(
    empty: LocalCluster, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SECONDS", 0.5)
    assert refusal(place) == [
        f"cluster: the scheduler at {empty.address} has no worker; allowed: one or more; in the "
        f"folder of this project, start: python -m stages.worker {empty.address}"
    ]


def test_workers_that_would_give_other_bits_are_told_before_any_work(
    workers: LocalCluster, place: Path
) -> None:
    fast = place / "fast"
    fast.mkdir()
    (fast / "params.yaml").write_text("bits: fast\n")
    workers.start_worker(at=fast, OMP_NUM_THREADS="1")
    workers.start_worker("--nthreads", "2")
    workers.start_worker("--nthreads", "1", module="distributed.cli.dask_worker", at=place)
    start = f"; in the folder of this project, start: python -m stages.worker {workers.address}"
    lines = [line.removesuffix(start) for line in refusal(place)]
    assert sorted(re.sub(r"tcp://127\.0\.0\.1:\d+", "W", line) for line in lines) == [
        "cluster: worker W has threads 1; allowed: 4, as here",
        "cluster: worker W was not started by python -m stages.worker",
        "cluster: worker W works on 2 parts at a time; allowed: 1 (--nthreads 1)",
    ]


@pytest.mark.parametrize(
    ("bits", "changed", "told"),
    [
        ("portable", {}, None),
        ("portable", {"processor": "another", "cores": "64", "extensions": ""}, None),
        ("fast", {"processor": "another"}, "has processor another; allowed: X9, as here"),
        ("portable", {"torch": "1.0"}, "has torch 1.0; allowed: 2.0, as here"),
        ("fast", {"MKL_CBWR": "AVX"}, "has MKL_CBWR AVX; allowed: nothing, as here"),
        ("portable", {"gpu": "H100, H100"}, None),
        ("portable", {"gpu": "A100"}, "has gpu A100; allowed: H100, as here"),
    ],
)
def test_what_a_worker_must_have(bits: str, changed: dict[str, str], told: str | None) -> None:
    """The same as this process, but GPUs as the first worker has, in any number."""
    here = {"torch": "2.0", "gpu": "-", "processor": "X9", "cores": "2", "extensions": "avx2"}
    first = here | {"gpu": "H100"}
    fault = cluster.find_fault("w", first | changed, cluster.expect(here, first, bits))
    assert fault == (None if told is None else f"cluster: worker w {told}")


def test_a_worker_listens_where_its_scheduler_is_unless_told_otherwise(tmp_path: Path) -> None:
    loopback = ["--host", "127.0.0.1"]
    assert listen_towards(["tcp://127.0.0.1:8786"]) == loopback
    assert listen_towards(["127.0.0.1:8786", "--worker-port", "3000:3010"]) == loopback
    assert listen_towards(["--nworkers", "2", "tls://localhost:1"]) == loopback
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tcp://127.0.0.1:8786"}')
    assert listen_towards(["--scheduler-file", str(file)]) == loopback
    with dask.config.set({"scheduler-address": "tcp://127.0.0.1:1"}):
        assert listen_towards([]) == loopback
    assert listen_towards([]) == []
    for option in ("--host", "--interface", "--listen-address"):
        assert listen_towards(["tcp://127.0.0.1:8786", option, "lo"]) == []


def test_a_worker_of_other_code_is_refused_whatever_was_asked_before(
    workers: LocalCluster, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.start_worker()
    monkeypatch.setattr(cluster, "fingerprint_code", lambda: "0123456789abcdef")
    for bits in ("portable", "fast", "portable"):
        change_params(place, {"bits": bits})
        [line] = refusal(place)
        assert " has code " in line
        assert "; allowed: 0123456789abcdef, as here; in the folder of this project" in line


def test_a_worker_that_comes_later_is_checked_too(workers: LocalCluster, place: Path) -> None:
    first = workers.start_worker()
    with open_workers(read_params(place / "params.yaml"), place) as them:
        workers.start_worker("--nthreads", "1", module="distributed.cli.dask_worker", at=place)
        first.terminate()
        first.wait(20)
        with pytest.raises(UserError) as raised:
            them.call(abs, -1)
    assert re.sub(r"tcp://127\.0\.0\.1:\d+", "A", str(raised.value)) == (
        "cluster: worker A was not started by python -m stages.worker; in the folder of this "
        "project, start: python -m stages.worker A"
    )


def test_a_cluster_whose_workers_are_gone_is_told(
    workers: LocalCluster,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    only = workers.start_worker()
    with open_workers(read_params(place / "params.yaml"), place) as them:
        monkeypatch.setattr(cluster, "SECONDS", 0.5)
        only.terminate()
        only.wait(20)
        started = threading.Thread(target=workers.start_worker)
        waiting = them.executor.submit(abs, -1)  # type: ignore[union-attr]
        until = time.monotonic() + 20
        while "has no worker any more" not in caplog.text and time.monotonic() < until:
            time.sleep(0.1)
        started.start()
        assert waiting.result(30) == 1  # another worker does it
        started.join()
    assert (
        f"cluster: the scheduler at {workers.address} has no worker any more, so the stage waits; "
        f"in the folder of this project, start: python -m stages.worker {workers.address}"
    ) in caplog.messages


def test_what_is_no_scheduler_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        change_params(place, {"cluster": address})
        [line] = refusal(place)
    assert line.startswith(f"cluster: no Dask scheduler answers at '{address}' (")

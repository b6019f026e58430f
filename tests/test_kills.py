"""SIGKILL over the life of every stage: nothing is half written, and the next run ends the same.

The dataset is fetched from a server of this test, so that downloads are killed too.
"""

import contextlib
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.experiments.dvc_adapter.lock import hash_folder
from tests.helpers.clone import (
    SMALL,
    copy_clone,
    dvc,
    list_processes_in,
    outputs,
    run_clone,
    wait_until,
)
from tests.helpers.processes import environment
from tests.helpers.searchable import draw

pytestmark = pytest.mark.long

STAGES = (
    *("download", "added", "split", "backbone", "embed@baseline", "index@baseline", "mine"),
    *("train", "embed@finetuned", "index@finetuned", "evaluate@finetuned", "plot", "track"),
)
SHARES = (0.02, 0.2, 0.4, 0.6, 0.8)  # of the seconds that a stage takes
# What shows that a stage is in the midst of writing; of a download, of an epoch's checkpoint too.
WRITING = (".unfinished-*", "*/.unfinished-*", "downloads/*.part", "downloads/unpacked-*")
ATTEMPTS = 4  # a file may be written faster than it is looked for
hits: dict[str, list[str]] = {}


def make_archive() -> bytes:
    """Return a tar of train/ and test/ with class folders of painted images."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for color in ("red", "green", "blue", "black", "purple", "gray"):
            for number in range(12):
                for shape in ("disc", "square"):
                    folder = "train" if number < 7 else "test"
                    entry = tarfile.TarInfo(f"{folder}/{color} {shape}/{number}.jpg")
                    content = draw(color if color != "gray" else "red", shape, number)
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class SlowHandler(BaseHTTPRequestHandler):
    """Sends the archive within about two seconds; the rest of it, where a part is there."""

    body: bytes = b""

    def do_GET(self) -> None:
        start = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            end = len(self.body)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        self.send_header("Content-Length", str(len(self.body) - start))
        self.send_header("ETag", '"v1"')
        self.end_headers()
        with contextlib.suppress(OSError):  # the other side was killed
            for at in range(start, len(self.body), 2**14):
                self.wfile.write(self.body[at : at + 2**14])
                time.sleep(2 * 2**14 / len(self.body))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a clone whose dataset is fetched, run once."""
    SlowHandler.body = make_archive()
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    block = {
        "url": f"http://127.0.0.1:{server.server_port}/MIT_split.tar",
        "sha256": hashlib.sha256(SlowHandler.body).hexdigest(),
    }
    # One worker each, as a process more that might be left.
    params = SMALL | {"data.name": "mit_split", "data.mit_split": block | {"max_images": None}}
    params |= {"train.workers": 1, "embed.workers": 1, "train.epochs": 4}
    # A copy: what this process started when it made the clone, such as Python's tracker, is there.
    made = run_clone(tmp_path_factory.mktemp("made") / "lookalike", params)
    yield copy_clone(made, tmp_path_factory.mktemp("fetched") / "lookalike")
    server.shutdown()
    server.server_close()
    print(
        *(f"{stage}: {len(each)} kills: {', '.join(each)}" for stage, each in hits.items()),
        sep="\n",
    )
    print(f"{sum(map(len, hits.values()))} kills in all")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_killed_leaves_nothing_and_then_ends_the_same(
    stage: str, fetched: Path
) -> None:
    before, hits[stage] = outputs(fetched), []
    asked: list[float] = []
    for _ in range(2):  # the first run compiles, and takes longer than those that are killed
        asked.clear()
        assert not kill(fetched, stage, lambda _: asked.append(time.monotonic()), alone=False)
    seconds = asked[-1] - asked[0]
    for number, share in enumerate(SHARES):
        for _ in range(ATTEMPTS):
            # The stage alone, as the system does it where memory runs out; or all, as a power cut.
            if kill(fetched, stage, wait(share * seconds), alone=number % 2 == 0):
                hits[stage].append(f"{share:.0%}{' alone' * (number % 2 == 0)}")
                break
    for number in range(ATTEMPTS):
        if kill(fetched, stage, is_writing, alone=number % 2 == 0):
            hits[stage].append("writing")
            break
    # By itself, DVC would take the outputs from its cache.
    for options in (["--force", "--single-item", "--no-run-cache", stage], []):
        ran = dvc(fetched, "repro", *options)
        assert ran.returncode == 0, ran.stderr[-4000:]
        assert outputs(fetched) == before
    assert list_left(fetched) == []
    # A stage of two seconds may end earlier than before.
    assert len(hits[stage]) >= len(SHARES) - 1, f"it ended before it was killed: {hits[stage]}"


def wait(seconds: float) -> Callable[[Path], bool]:
    until: list[float] = []

    def has_passed(_: Path) -> bool:
        until or until.append(time.monotonic() + seconds)
        return time.monotonic() >= until[0]

    return has_passed


def is_writing(place: Path) -> bool:
    return any(True for pattern in WRITING for _ in place.glob(pattern))


def kill(place: Path, stage: str, when: Callable[[Path], object], *, alone: bool) -> bool:
    """Run a stage by `dvc repro`, kill it, and check what is left; return whether it was running.

    when: asked from the moment on at which the stage's process is there. alone: the stage's
    process is killed; else DVC and all of its processes.
    """
    clear(place)
    if stage == "download":
        shutil.rmtree(place / "downloads", ignore_errors=True)
    options = ["--force", "--single-item", "--no-run-cache", "--quiet"]
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", *options, stage],
        cwd=place,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        found: list[psutil.Process] = []

        def is_there() -> bool:
            found[:] = find_stage(process.pid, stage)
            return bool(found) or process.poll() is not None

        wait_until(is_there)
        while is_alive(found) and not when(place):
            time.sleep(0.002)
        hit = is_alive(found)
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if hit and alone:
                found[0].kill()
            elif hit:
                os.killpg(process.pid, signal.SIGKILL)
        status = process.wait(timeout=120)
    wait_until(lambda: not list_processes_in(place), seconds=15)  # no orphan
    check_outputs(place, stage)
    return hit and status != 0


def find_stage(dvc_id: int, stage: str) -> list[psutil.Process]:
    """Return the process of the stage's command; without the shell that DVC starts it by."""
    module = f"stages.{stage.partition('@')[0]}"
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(dvc_id).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.cmdline()[1:3] == ["-m", module]:
                    found.append(child)
    return found


def is_alive(found: list[psutil.Process]) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(found) and found[0].status() != psutil.STATUS_ZOMBIE
    return False


def check_outputs(place: Path, stage: str) -> None:
    """Check that each output of the stage is what it was, or missing."""
    for out in outputs(place)[stage]:
        path = place / out["path"]
        if path.exists() and out["path"] != "logs/tracked.txt":
            assert hash_output(path) == out["md5"], path


def hash_output(path: Path) -> str:
    return (
        hash_folder(path)
        if path.is_dir()
        else hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    )


def clear(place: Path) -> None:
    """Remove what killed stages left, so that it is not taken for what the next one writes."""
    for pattern in WRITING:
        for path in place.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def list_left(place: Path) -> list[Any]:
    return [
        *place.rglob(".unfinished-*"),
        *place.glob("downloads/*.part"),
        *place.glob("checkpoints/*"),
    ]

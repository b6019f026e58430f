"""A clone of this working tree in which tests run real git, DVC and servers, as a person does."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from pipeline.portable_bits import THREADS
from tests.helpers.mlflow_store import put_empty_store
from tests.helpers.overlay import overlay
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment
from tests.helpers.whole_dag import run_stages

SMALL: dict[str, Any] = {
    "data.products": {"classes": 24, "per_class": 6, "image_size": 32},
    "split.val_fraction": 0.4,
    "backbone.image_size": 32,
    # Random at first, so that training makes it better: else every training gives the same model,
    # that before it.
    "head.name": "linear",
    "head.init": "random",
    "head.dim": 16,
    "batches.pk": {"classes": 4, "per_class": 3},
    "train.epochs": 3,
    # Each worker is a process that imports all of torch; their number changes no bit.
    "train.workers": 0,
    "embed.workers": 0,
    "evaluate.bootstrap": 100,
    "evaluate.neighbors": 8,
    "plot": {"points": 100, "rows": 3, "columns": 4},
}


def run_clone(place: Path, params: Mapping[str, Any]) -> Path:
    """Make `place` a repository of this working tree with `params`, run it once, and return it.

    The stages run in this process, which takes a third of the time. That they give the same bits
    as processes that DVC starts is shown by tests/app/commands/test_verify.py.
    """
    copy_project(place)
    change_params(place, params)
    git(place, "init", "--quiet")
    git(place, "config", "user.email", "a@b.c")
    git(place, "config", "user.name", "a")
    commit(place, "start")
    put_empty_store(place)
    run_stages(place, threads=THREADS)
    ran = dvc(place, "commit", "--force", "--quiet")
    assert ran.returncode == 0, ran.stderr[-4000:]
    commit(place, "first run")
    return place


def copy_clone(ready: Path, to: Path) -> Path:
    """Copy `ready`, a clone that was run once, to `to` and return it: nothing there has to run."""
    shutil.copytree(ready, to, symlinks=True)
    _copy_compiled_code(to)
    # MLflow records absolute paths of artifacts.
    with closing(sqlite3.connect(to / "mlflow.db")) as database, database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",  # noqa: S608 - of above
                (str(ready), str(to)),
            )
    return to


def skip_drawing(place: Path) -> None:
    """Make the stage `plot` write empty files: it takes longest, and other tests cover it."""
    yaml = YAML()
    dag = yaml.load((place / "dvc.yaml").read_text())
    plot = dag["stages"]["plot"]
    files = [out if Path(out).suffix else f"{out}/none.txt" for out in plot["outs"]]
    folders = sorted({str(Path(file).parent) for file in files})
    plot["cmd"] = f"mkdir -p {' '.join(folders)} && touch {' '.join(files)}"
    with (place / "dvc.yaml").open("w") as out:
        yaml.dump(dag, out)
    commit(place, "plot writes empty files")


def copy_project(to: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file() and name != "dvc.lock":
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    _copy_compiled_code(to)


def _copy_compiled_code(to: Path) -> None:
    """Copy what numba has compiled, which stays valid: it is named after the folder of its file."""
    from numba.core.caching import UserProvidedCacheLocator

    def name_in(root: Path, folder: Path) -> str:
        beside: str = UserProvidedCacheLocator.get_suitable_cache_subpath(str(root / folder / "a"))
        return beside

    for cache in ROOT.glob("pipeline/__pycache__/numba-*"):
        for path in ROOT.glob("pipeline/*/"):
            folder = path.relative_to(ROOT)
            if (compiled := cache / name_in(ROOT, folder)).is_dir():
                copy = to / cache.relative_to(ROOT) / name_in(to, folder)
                shutil.copytree(compiled, copy, dirs_exist_ok=True)


def change_params(place: Path, changes: Mapping[str, Any]) -> None:
    yaml = YAML()
    values = yaml.load((place / "params.yaml").read_text())
    overlay(values, changes)
    with (place / "params.yaml").open("w") as out:
        yaml.dump(values, out)


def dvc(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(
        command, cwd=place, env=environment(), capture_output=True, text=True, check=False
    )


def git(place: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=place, capture_output=True, text=True, check=True
    )
    return done.stdout


def stages_run(ran: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the stages whose command was run, in order."""
    assert ran.returncode == 0, ran.stderr[-4000:]
    lines = (ran.stdout + ran.stderr).splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("Running stage '")]


def commit(place: Path, message: str) -> None:
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", message)


@contextmanager
def running(place: Path, *command: str, **variables: str) -> Iterator[None]:
    """Run `command` in `place` while the context lasts; then kill it and its children."""
    with subprocess.Popen(
        command,
        cwd=place,
        env=environment() | variables,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def list_processes_in(place: Path) -> list[psutil.Process]:
    """Return all that runs in `place`, except for this process."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(place) and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def kill_all_in(place: Path) -> None:
    """Kill all that runs in `place`, as a power cut does, except for this process."""
    for process in list_processes_in(place):
        with suppress(psutil.Error, ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(happened: Callable[[], bool], seconds: float = 600) -> None:
    """Return as soon as it happened; `seconds` is more than the slowest machine needs."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.02)


def outputs(place: Path) -> dict[str, Any]:
    """Return stage -> its outputs' hashes, as DVC recorded them."""
    lock = YAML(typ="safe").load((place / "dvc.lock").read_text())
    return {name: stage.get("outs") for name, stage in lock["stages"].items()}


def restore(clone: Path) -> None:
    git(clone, "checkout", "--quiet", "--force", "HEAD")
    assert dvc(clone, "checkout", "--force", "--quiet").returncode == 0


def runs(place: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lookalike")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))

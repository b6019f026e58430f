"""What the adapter relies on in the installed DVC, much of it private.

When DVC is renewed, look here first: each failure names what is missing, and who needs it.
"""

import inspect
import json
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from app.experiments.dvc_adapter import queue, revisions
from app.experiments.dvc_adapter.lock import hash_folder, read_lock
from app.experiments.dvc_adapter.run_log import find_failure_reason
from pipeline.config.load import read_yaml
from tests.helpers.clone import commit, dvc, git
from tests.helpers.paths import ROOT

# What the adapter uses -> the function that uses it.
ATTRIBUTES = {
    "dvc.repo:Repo": "queue._experiments",
    "dvc.exceptions:NotDvcRepoError": "queue._experiments",
    "dvc.repo.experiments:Experiments.celery_queue": "queue.read_states",
    "dvc.repo.experiments:Experiments.ls": "queue.list_finished",
    "dvc.repo.experiments.queue.celery:LocalCeleryQueue.status": "queue.read_states",
    "dvc.repo.experiments.queue.celery:LocalCeleryQueue.celery": "queue.mark_lost_as_failed",
    "dvc.repo.experiments.queue.celery:LocalCeleryQueue._iter_active_tasks": (
        "queue.mark_lost_as_failed"
    ),
    "celery.backends.base:Backend.mark_as_failure": "queue.mark_lost_as_failed",
    "celery.result:AsyncResult.id": "queue.mark_lost_as_failed",
    "dvc.api:DVCFileSystem.get": "revisions.RevisionOutputs",
    "dvc.api:DVCFileSystem.close": "revisions.RevisionOutputs",
    "dvc_data.index:DataIndexDirError": "revisions.RevisionOutputs",
    "dvc.lock:LockError": "queue._may_pass",
    "dvc.rwlock:RWLockFileCorruptedError": "queue._may_pass",
    "kombu.exceptions:KombuError": "queue._may_pass",
}
PARAMETERS = {
    "dvc.repo.experiments.ls:ls": ("rev",),
    "dvc.api:DVCFileSystem.__init__": ("rev", "config", "subrepos", "repo_factory"),
    "dvc.api:DVCFileSystem.get": ("rpath", "lpath", "recursive", "kwargs"),
    "celery.backends.base:Backend.mark_as_failure": ("task_id", "exc"),
}
DAG = """\
stages:
  good:
    cmd: mkdir -p out/sub out-2 && echo 1 > out/a && echo 2 > out/sub/b && echo 3 > out/sub-b
    deps: [code.py]
    params: [k]
    outs: [out, out-2]
  bad:
    cmd: 'false'
    deps: [out]
"""


def lacks(what: str, user: str) -> str:
    return f"DVC {version('dvc')}: found no {what}, which app/experiments/dvc_adapter/{user} uses"


def find(place: str, user: str) -> Any:
    """Return "module:name.attribute"; fail with a text that says what is missing."""
    module, _, path = place.partition(":")
    try:
        found: Any = import_module(module)
    except ImportError:
        pytest.fail(lacks(module, user))
    for name in path.split("."):
        if not hasattr(found, name):
            # Set on objects, not on their class.
            if f"self.{name} =" in inspect.getsource(found):
                return None
            pytest.fail(lacks(place, user))
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("place", ATTRIBUTES)
def test_dvc_has_what_the_adapter_uses(place: str) -> None:
    find(place, ATTRIBUTES[place])


@pytest.mark.parametrize("place", PARAMETERS)
def test_dvcs_functions_take_what_the_adapter_gives(place: str) -> None:
    user = ATTRIBUTES.get(place, "revisions.py")
    parameters = inspect.signature(find(place, user)).parameters
    missing = [name for name in PARAMETERS[place] if name not in parameters]
    assert not missing, lacks(f"parameter {', '.join(missing)} of {place}", user)


def list_keys(values: Any) -> set[str]:
    """Return each key of nested mappings, at any depth."""
    if not isinstance(values, dict):
        return set()
    return set(values).union(*map(list_keys, values.values()))


def test_the_run_cache_distinguishes_runs_by_every_key_of_params() -> None:
    # DVC leaves some names out of the hash of a run ("size"), also where they are a person's own.
    from dvc.stage.cache import _get_cache_hash

    def hash_run(key: str, value: int) -> Any:
        run = {"cmd": "train", "params": {"params.yaml": {"section": {"block": {key: value}}}}}
        return _get_cache_hash(run, key=True)

    assert hash_run("size", 1) == hash_run("size", 2), "DVC leaves out no name; delete this test"
    keys = list_keys(read_yaml(ROOT / "params.yaml"))
    assert {"seed", "pk", "per_class"} <= keys
    left_out = [key for key in sorted(keys) if hash_run(key, 1) == hash_run(key, 2)]
    assert not left_out, "a change of such a key brings back another run's results; rename it"


def test_a_task_of_the_queue_has_a_result_and_an_entry_with_its_revision() -> None:
    from dvc.repo.experiments.queue.base import QueueEntry
    from dvc.repo.experiments.queue.celery import _TaskEntry

    assert _TaskEntry._fields == ("async_result", "entry"), lacks(
        "pair (result, entry) of a task", "queue.mark_lost_as_failed"
    )
    fields = inspect.signature(QueueEntry).parameters
    assert "stash_rev" in fields, lacks("QueueEntry.stash_rev", "queue.mark_lost_as_failed")


def test_a_worker_is_a_process_with_its_name_after_queue_worker() -> None:
    from dvc.cli.parser import get_main_parser

    read = get_main_parser().parse_args(["exp", "queue-worker", "dvc-exp-1a2b3c-1@localhost"])
    assert read.name == "dvc-exp-1a2b3c-1@localhost", lacks("worker's name", "queue.count_workers")
    commands = ["python dvc exp queue-worker dvc-exp-1a2b3c-1@localhost --clean", "python train"]
    assert len(queue._find_workers(commands)) == 1


def test_the_ref_of_an_experiment_is_read_as_dvc_writes_it(
    dvc_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo.experiments.refs import ExpRefInfo

    monkeypatch.chdir(dvc_project)
    head = git(dvc_project, "rev-parse", "HEAD").strip()
    ref = str(ExpRefInfo(baseline_sha=head, name="mine"))
    git(dvc_project, "update-ref", ref, head)
    try:
        assert revisions.list_experiments() == {"mine": [head]}, lacks(
            f"refs/exps/xx/xx…/name, but {ref}", "revisions.list_experiments"
        )
        assert queue.list_finished(head) == {"mine": head}, lacks(
            "{commit: [(name, commit)]} of Experiments.ls", "queue.list_finished"
        )
    finally:
        git(dvc_project, "update-ref", "-d", ref)


@pytest.fixture(scope="module")
def dvc_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two stages, of which the second fails, and a queued experiment."""
    # In a folder of the repository, as .dvc may be.
    place = tmp_path_factory.mktemp("contract") / "project"
    place.mkdir()
    git(place.parent, "init", "--quiet")
    git(place, "config", "user.email", "a@b.c")
    git(place, "config", "user.name", "a")
    (place / "dvc.yaml").write_text(DAG)
    (place / "params.yaml").write_text("k: 1\n")
    (place / "code.py").touch()
    (place / ".gitignore").write_text("/out\n/out-2\n")  # DVC takes it back when a stage fails
    assert dvc(place, "init", "--quiet", "--subdir").returncode == 0
    commit(place, "before")
    ran = dvc(place, "repro")
    (place.parent / "log").write_text(ran.stdout + ran.stderr)
    commit(place, "after")
    queued = dvc(place, "exp", "run", "--queue", "--name", "waiting", "--set-param", "k=2")
    assert queued.returncode == 0, queued.stderr
    return place


def test_a_queued_experiment_is_read_with_its_state(
    dvc_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dvc_project)
    assert queue.read_states() == {"waiting": "Queued"}, lacks(
        "list of {name, status} of LocalCeleryQueue.status", "queue.read_states"
    )
    queue.mark_lost_as_failed()  # there are no active tasks
    assert queue.read_states() == {"waiting": "Queued"}


def test_the_log_of_a_failed_run_names_its_stage(dvc_project: Path) -> None:
    log = (dvc_project.parent / "log").read_text()
    assert "Running stage 'good'" in log, lacks(
        "line \"Running stage 'good'\"", "run_log.find_failure_reason"
    )
    assert find_failure_reason(log).startswith("failed to reproduce 'bad'"), lacks(
        "line \"ERROR: failed to reproduce 'bad'\"", "run_log.py"
    )


def test_outputs_of_a_revision_are_links_into_the_cache(
    dvc_project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(dvc_project)
    outputs = revisions.RevisionOutputs(git(dvc_project, "rev-parse", "HEAD").strip())
    assert outputs.fetch("out", tmp_path, download=False), lacks(
        "output", "revisions.RevisionOutputs"
    )
    assert (tmp_path / "out/sub/b").read_text() == "2\n"
    assert (tmp_path / "out/sub/b").is_symlink(), lacks(
        "config of links", "revisions.RevisionOutputs"
    )
    assert not outputs.fetch("out-3", tmp_path, download=True)
    outputs.close()
    assert not (tmp_path / "out-3").exists()


def test_what_dvc_says_of_a_lock_is_known() -> None:
    from dvc.lock import FAILED_TO_LOCK_MESSAGE

    assert queue._BUSY.search(FAILED_TO_LOCK_MESSAGE), lacks("such text", "queue._BUSY")


@pytest.mark.parametrize("inside", ["", "a/b"])
def test_nothing_is_left_of_an_output_that_is_not_whole(
    dvc_project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inside: str
) -> None:
    class Half:
        def get(self, _: str, to: str, **__: Any) -> None:
            (Path(to) / inside).parent.mkdir(parents=True, exist_ok=True)
            (Path(to) / inside).touch()
            raise FileNotFoundError

        close = staticmethod(lambda: None)

    monkeypatch.chdir(dvc_project)
    outputs = revisions.RevisionOutputs(git(dvc_project, "rev-parse", "HEAD").strip())
    monkeypatch.setattr(outputs, "_open", lambda _: Half())
    assert not outputs.fetch("table", tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_the_hash_of_a_folder_is_the_one_that_dvc_records(dvc_project: Path) -> None:
    lock = read_lock((dvc_project / "dvc.lock").read_text(), where="dvc.lock")
    assert hash_folder(dvc_project / "out") == lock.hash_of("out"), lacks(
        "such hash of a folder", "lock.hash_folder"
    )
    listed = json.loads(cached(dvc_project, lock.hash_of("out") or "").read_text())
    assert [each["relpath"] for each in listed] == ["a", "sub-b", "sub/b"]


def cached(dvc_project: Path, md5: str) -> Path:
    return dvc_project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]

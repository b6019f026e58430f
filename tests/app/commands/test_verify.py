"""`lookalike verify` on a real repository: the whole DAG runs again in a clone of its own.

So this is also the test that a DAG that runs twice gives the same bits.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML

from app.commands.verify import _link_sources, verify
from app.experiments.verification import MACHINE, record_machine
from pipeline.errors import UserError
from pipeline.machine import describe_machine
from pipeline.portable_bits import THREADS
from tests.helpers.clone import commit, copy_clone, git
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_lookalike, run_module


def test_each_output_is_the_recorded_one_or_differs(first_run: Path, tmp_path: Path) -> None:
    """The images are outside git, and one hash is recorded as another computer may have it."""
    project = copy_clone(first_run, tmp_path / "lookalike")
    yaml = YAML()
    lock = yaml.load((project / "dvc.lock").read_text())
    trained = next(
        out for out in lock["stages"]["train"]["outs"] if out["path"] == "models/finetuned"
    )
    trained["md5"] = "0" * 32 + ".dir"
    with (project / "dvc.lock").open("w") as out:
        yaml.dump(lock, out)
    here = describe_machine("portable") | {"threads": str(THREADS)}  # pytest itself has one
    record_machine(here | {"processor": "abacus"}, project / MACHINE)
    commit(project, "as another computer made it")

    shell = {"OMP_NUM_THREADS": "3", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "5"}
    ran = run_module(project, "app.cli", "verify", **shell)

    assert ran.returncode == 1, ran.stderr
    lines = ran.stdout.splitlines()
    table = [line for line in lines if line.startswith(("same ", "differs "))]
    assert [line for line in table if line.startswith("differs")] == ["differs models/finetuned"]
    count = len(table)
    assert count > 20
    after = lines[lines.index(f"{count} outputs: {count - 1} as in dvc.lock, 1 not") + 1 :]
    assert after[0] == (
        "first: models/finetuned, of stage train, which read the same files and params"
    )
    assert [line.split()[0] for line in after[1:]] == ["made", "processor"]
    assert "abacus" in after[2]
    assert git(project, "status", "--porcelain") == ""


def test_record_writes_the_machine(first_run: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((first_run / "params.yaml").read_text())
    ran = run_lookalike(tmp_path, "verify", "--record")
    assert (ran.returncode, ran.stdout) == (0, "wrote machine.json; commit it with dvc.lock\n")
    assert '"processor"' in (tmp_path / MACHINE).read_text()


def test_the_users_images_are_found_in_the_clone_and_nothing_outside_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, clone = tmp_path / "a/project", tmp_path / "b/clone"
    for path in (
        *(project / "images/1.jpg", project / "added/2.jpg", project / "linked/photos/3.jpg"),
        *(clone / "images/README.md", tmp_path / "b/beside/kept.jpg", tmp_path / "a/beside/4.jpg"),
        tmp_path / "elsewhere/photos/kept.jpg",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (clone / "linked").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(project)
    kept = [tmp_path / "b/beside/kept.jpg", tmp_path / "elsewhere/photos/kept.jpg"]
    for source in ("images", "../beside", "..", ".", "../..", "linked/photos"):
        params = SimpleNamespace(
            data=SimpleNamespace(source=source), added=SimpleNamespace(source="added")
        )
        _link_sources(clone, params)  # type: ignore[arg-type]
        assert all(path.exists() for path in kept), source
    assert [path.name for path in (clone / "images").iterdir()] == ["1.jpg"]
    assert [path.name for path in (clone / "added").iterdir()] == ["2.jpg"]
    assert sorted(path.name for path in project.rglob("*.jpg")) == ["1.jpg", "2.jpg", "3.jpg"]


def test_without_a_lock_nothing_can_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    with pytest.raises(UserError) as error:
        verify()
    assert str(error.value) == "dvc.yaml: no such file; run from the root of the project"
    (tmp_path / "dvc.yaml").touch()
    with pytest.raises(UserError) as error:
        verify()
    assert str(error.value).startswith("git: found no commit, which this command starts from; ")
    git(
        tmp_path,
        "-c",
        "user.email=a@b.c",
        "-c",
        "user.name=a",
        "commit",
        "-qm",
        "m",
        "--allow-empty",
    )
    with pytest.raises(UserError) as error:
        verify()
    assert str(error.value) == (
        "dvc.lock: not in the last commit; run: dvc repro; git add dvc.lock; git commit"
    )


def test_a_damaged_machine_is_told_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("dvc.yaml", ""), ("dvc.lock", locked("1", "2")), ("machine.json", "[")):
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "as it was made")
    monkeypatch.setattr("app.commands.verify.reproduce", lambda _: pytest.fail("it ran"))
    with pytest.raises(UserError, match=r"^machine\.json: not what `lookalike verify --record`"):
        verify()


def locked(code: str, model: str) -> str:
    return (
        "schema: '2.0'\nstages:\n  train:\n    cmd: train\n"
        f"    deps:\n    - path: pipeline/training\n      md5: '{code}'\n"
        f"    outs:\n    - path: models/finetuned\n      md5: '{model}'\n"
    )


@pytest.mark.parametrize(
    ("found", "last"),
    [
        (locked("1", "2"), "1 outputs: 1 as in dvc.lock"),
        (
            locked("7", "8"),
            "dvc.lock is not of this commit, which has another pipeline/training; run: dvc repro; "
            "git add dvc.lock; git commit",
        ),
        (
            locked("1", "8"),
            "machine.json: not in the last commit, so the other machine is not known; whoever "
            "commits dvc.lock writes it with: lookalike verify --record",
        ),
    ],
    ids=["same", "other code", "other machine"],
)
def test_other_code_is_not_blamed_on_the_machine(
    found: str,
    last: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And what lets the bits differ is told before the run. The run is replaced by its dvc.lock."""
    monkeypatch.chdir(tmp_path)
    params = (ROOT / "params.yaml").read_text().replace("bits: portable", "bits: fast", 1)
    (tmp_path / "params.yaml").write_text(params)
    (tmp_path / "dvc.lock").write_text(locked("1", "2"))
    (tmp_path / "dvc.yaml").touch()
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "as it was made")
    told: list[str] = []

    def reproduce(clone: Path) -> None:
        told.extend(caplog.messages)
        (clone / "dvc.lock").write_text(found)

    monkeypatch.setattr("app.commands.verify.reproduce", reproduce)
    assert verify() == (found == locked("1", "2"))
    assert told == ["bits: fast: other bits on another processor are to be expected"]
    assert capsys.readouterr().out.splitlines()[-1] == last

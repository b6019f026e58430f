"""Sweeps: names, reasons and tables; and one real sweep that is killed and run again."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from dvc.utils.hydra import to_hydra_overrides

from app.experiments import Result, as_override, is_complete_in_queue
from app.recipes import Recipe
from app.sweeps import Run, find_reason, name_experiment, plan, shorten, tabulate
from pipeline.errors import UserError
from tests.clone import SMALL, dvc, git, runs, start_clone, wait_until
from tests.processes import ROOT, environment

PARAMS = (ROOT / "params.yaml").read_text()


def recipe(settings: dict[str, Any], sweep: dict[str, list[Any]]) -> Recipe:
    return Recipe(Path("recipes/tiny.yaml"), "Tiny", settings, [sweep] if sweep else [])


def planned(settings: dict[str, Any], sweep: dict[str, list[Any]], **made: str) -> list[Run]:
    made = {"baseline": "abc", "code": ""} | made
    return plan(recipe(settings, sweep), PARAMS, **made)


def test_each_combination_is_one_run_with_the_recipes_own_settings() -> None:
    found = planned(
        {"loss.name": "triplet"}, {"train.epochs": [3, 10], "loss.triplet.margin": [0.3, 0.5, 0.3]}
    )
    assert [run.label for run in found] == [
        "epochs=3 margin=0.3",
        "epochs=3 margin=0.5",
        "epochs=10 margin=0.3",
        "epochs=10 margin=0.5",
    ]
    assert found[1].settings == {
        "loss.name": "triplet",
        "train.epochs": 3,
        "loss.triplet.margin": 0.5,
    }


def test_the_same_work_has_the_same_name_and_other_work_another() -> None:
    def names(**changed: Any) -> set[str]:
        sweep = changed.pop("sweep", {"train.epochs": [3, 10]})
        return {run.name for run in planned(changed.pop("settings", {}), sweep, **changed)}

    assert names() == names()
    assert names() < names(sweep={"train.epochs": [3, 10, 20]})
    for changed in ({"baseline": "abd"}, {"code": "+ a line"}, {"settings": {"seed": 8}}):
        assert not names() & names(**changed)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"margin": 0.3, "epochs": 10}, "tiny_margin=0.3_epochs=10_1a2b3c4"),
        ({"lr": 2e-05, "weights": None}, "tiny_lr=2e-05_weights=null_1a2b3c4"),
        ({"k": [1, 5], "source": "../a b:c~^?*.lock"}, "tiny_k=-1-5-_source=.-a-b-c-.lock_1a2b3c4"),
        ({"factory": "é@{x}" * 50}, None),
    ],
)
def test_a_name_is_one_that_git_takes(values: dict[str, Any], name: str | None) -> None:
    found = name_experiment("tiny", values, "1a2b3c4")
    assert name is None or found == name
    assert len(found) <= 108
    assert "/" not in found
    assert git(ROOT, "check-ref-format", f"refs/exps/{found}") == ""


def test_keys_are_as_short_as_they_can_be_told_apart() -> None:
    keys = ["loss.triplet.margin", "loss.margin.margin", "train.epochs", "loss.name"]
    assert list(shorten(keys).values()) == ["triplet.margin", "margin.margin", "epochs", "name"]


VALUES = (None, True, 3, 0.3, 2e-05, [1, 5], [0.6, 1.0], ["a", "b'c"], [])
TEXTS = ("", "x", "null", "1e-3", "/a b/c,d=e[f]", "it's", "a\\'b", "end\\")


@pytest.mark.parametrize("value", [*VALUES, *TEXTS])
def test_every_value_comes_through_dvcs_command_line_as_it_is(value: Any) -> None:
    (parsed,) = to_hydra_overrides([f"a.b={as_override(value)}"])

    def plain(got: Any) -> Any:
        return [plain(each) for each in got] if isinstance(got, list) else getattr(got, "text", got)

    got = plain(parsed.value())
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("settings", "sweep", "line"),
    [
        (
            {},
            {},
            "recipes/tiny.yaml: sweep: found none; allowed: dotted keys, each with a list; "
            "without: lookalike recipe apply tiny && dvc repro",
        ),
        (
            {},
            {"train.epochz": [3]},
            "recipes/tiny.yaml: epochz=3: train.epochz: unknown key; found 'epochz'; ",
        ),
        (
            {"loss.name": "smooth_ap"},
            {"batches.pk.pictures": [4, 1]},
            "recipes/tiny.yaml: pictures=1: batches.pk.pictures: found 1 with loss.name "
            "'smooth_ap', which needs two pictures of a class; allowed: 2 or more",
        ),
        (
            {"data.name": "folder"},
            {"data.source": ["/elsewhere", "not/here"]},
            "recipes/tiny.yaml: source=not/here: data.source: found 'not/here'; a queued "
            "experiment sees only what is in git or DVC; set data.source to an absolute path: ",
        ),
    ],
)
def test_what_cannot_be_swept_is_one_line_before_anything_is_queued(
    settings: dict[str, Any], sweep: dict[str, list[Any]], line: str
) -> None:
    with pytest.raises(UserError) as error:
        planned(settings, sweep)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_a_source_is_whole_in_the_queue_if_git_or_dvc_has_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    source = Path("pictures/mugs")
    source.mkdir(parents=True)
    (source / "a.png").touch()
    assert not is_complete_in_queue(source, whole=False)
    git(tmp_path, "add", "pictures")
    assert is_complete_in_queue(source, whole=True)
    (source / "b.png").touch()
    assert is_complete_in_queue(source, whole=False)
    assert not is_complete_in_queue(source, whole=True)
    assert is_complete_in_queue(source.absolute(), whole=True)
    Path("pictures.dvc").touch()
    assert is_complete_in_queue(source, whole=True)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "Running stage 'train':\n> python -m stages.train\n"
            "train: batches.pk.classes: found 1000\n"
            "ERROR: failed to reproduce 'train': failed to run: python, exited with 1\n",
            "train: batches.pk.classes: found 1000",
        ),
        (
            "embed_baseline: 3.2 s\nTraceback (most recent call last):\n"
            "torch.OutOfMemoryError: CUDA out of memory\n\n"
            "ERROR: failed to reproduce 'embed@finetuned': failed to run: python, exited with 1\n",
            "torch.OutOfMemoryError: CUDA out of memory",
        ),
        (
            "ERROR: failed to reproduce 'train': failed to run: python, exited with -9\n",
            "failed to reproduce 'train': failed to run: python, exited with -9",
        ),
        (
            "Running stage 'embed@baseline':\n> python -m stages.embed\n",
            "its processes were killed in embed@baseline; run again",
        ),
        ("", "it did not begin, so there is no log; run again"),
    ],
)
def test_the_reason_of_a_failure_is_the_stages_own_line(log: str, reason: str) -> None:
    assert find_reason(log) == reason


def test_the_table_has_a_row_for_each_combination_and_fits_in_100_columns() -> None:
    swept = [Run(f"n{margin}", {"margin": margin, "epochs": 10}, {}) for margin in (0.3, 0.5)]
    metrics = {
        "metrics/train.json": {"val_map_at_r": 0.5},
        "metrics/finetuned.json": {"recall_at_1": 0.61, "precision_at_5": 0.4, "map": 0.3333},
    }
    table = tabulate(swept, {"n0.5": Result("1a2b3c4", metrics)})
    assert table.splitlines() == [
        "margin  epochs  val_map_at_r  recall_at_1  precision_at_5    map  experiment",
        "   0.3      10             -            -               -      -      failed",
        "   0.5      10         0.500        0.610           0.400  0.333     1a2b3c4",
    ]


def sweep_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", "sweep", "tiny", *options]


def kill_all_in(place: Path) -> None:
    """Kill what runs in `place`, as a machine that is switched off does."""
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(place):
                os.kill(process.pid, signal.SIGKILL)
        except (psutil.Error, ProcessLookupError):
            continue


def test_a_sweep_that_was_killed_goes_on_and_names_what_failed(tmp_path: Path) -> None:
    clone = start_clone(tmp_path / "lookalike", SMALL)
    (clone / "recipes/tiny.yaml").write_text(
        "# Tiny\ntrain: {epochs: 1}\n"
        "sweep: {batches.pk.classes: [4, 1000], evaluate.triplets: [1, 3]}\n"
    )
    (clone / "README.md").write_text("a change that is not committed\n")
    before = git(clone, "status", "--porcelain"), (clone / "params.yaml").read_text()

    with subprocess.Popen(
        sweep_command(), cwd=clone, env=environment(), stderr=subprocess.PIPE, text=True
    ) as killed:
        try:
            began = ".dvc/tmp/exps/tmp*/data/splits.parquet"
            wait_until(lambda: any(clone.glob(began)), seconds=400)
        finally:
            kill_all_in(clone)
        said = killed.stderr.read() if killed.stderr else ""
    assert said.count(": queued\n") == 4, said
    assert (git(clone, "status", "--porcelain"), (clone / "params.yaml").read_text()) == before

    ran = subprocess.run(
        sweep_command(), cwd=clone, env=environment(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.count(": queued\n") == 1, ran.stderr  # the one that was killed
    assert ran.stderr.count(": queued before\n") == 3, ran.stderr
    header, *rows = ran.stdout.splitlines()[:5]
    assert header.split()[:3] == ["classes", "triplets", "val_map_at_r"]
    assert [row.split()[:2] for row in rows] == [
        ["4", "1"],
        ["4", "3"],
        ["1000", "1"],
        ["1000", "3"],
    ]
    assert [row.split()[-1] == "failed" for row in rows] == [False, False, True, True]
    for triplets in (1, 3):
        line = f"lookalike: classes=1000 triplets={triplets}: train: batches.pk.classes: found 1000"
        assert line in ran.stderr

    done = dvc(clone, "exp", "list", "--name-only").stdout.split()
    assert [name.rpartition("_")[0] for name in sorted(done)] == [
        "tiny_classes=4_triplets=1",
        "tiny_classes=4_triplets=3",
    ]
    status = dvc(clone, "queue", "status").stdout
    assert (status.count("Success"), status.count("Failed"), status.count("tiny_")) == (2, 2, 4)
    assert set(done) <= {run.info.run_name for run in runs(clone)}
    assert (git(clone, "status", "--porcelain"), (clone / "params.yaml").read_text()) == before

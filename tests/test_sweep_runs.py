"""A sweep in DVC's real queue: killed, continued, with a failed experiment, and then compared."""

from pathlib import Path

from tests.helpers.clone import dvc, runs, skip_drawing
from tests.helpers.queue_runs import list_tracked_runs, read_tree, run, run_and_kill


def test_a_sweep_that_was_killed_continues_and_names_the_failed_experiment(clone: Path) -> None:
    skip_drawing(clone)
    (clone / "recipes/tiny.yaml").write_text(
        "# Tiny\ntrain: {epochs: 2}\n"
        "sweep:\n"
        "  - {batches.pk.classes: [4], train.seed: [1, 3]}\n"
        "  - {batches.pk.classes: [1000], train.seed: [3]}\n"
    )
    log = run_and_kill(clone, "sweep", "tiny")
    assert log.count(": queued\n") == 3, log
    before = read_tree(clone)
    ran = run(clone, "sweep", "tiny", "--jobs", "2")
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.count(": queued\n") == 1, ran.stderr  # the one that was killed
    assert ran.stderr.count(": queued before\n") == 2, ran.stderr
    assert read_tree(clone) == before

    header, *rows = [line.split() for line in ran.stdout.splitlines()[:6]]
    assert header[:3] == ["classes", "seed", "val_map_at_r"]
    assert [row[:2] for row in rows] == [
        *(["4", "1"], ["4", "3"], ["1000", "3"], ["4", "mean"], ["4", "sd"])
    ]
    assert [row[-1] == "failed" for row in rows[:3]] == [False, False, True]
    assert "sweep: classes=1000 seed=3: split: batches.pk.classes: found 1000" in ran.stderr

    names = [name for name in dvc(clone, "exp", "list", "--name-only").stdout.split()
             if name.startswith("tiny_")]  # fmt: skip
    found = list_tracked_runs(clone)
    assert {found[name].data.params["train.seed"] for name in names} == {"1", "3"}
    (parent,) = {found[name].data.tags["mlflow.parentRunId"] for name in names}
    (run_of_sweep,) = [each for each in runs(clone) if each.info.run_id == parent]
    assert run_of_sweep.info.run_name.startswith("sweep tiny, ")
    status = dvc(clone, "queue", "status").stdout
    assert (status.count("Success"), status.count("Failed"), status.count("tiny_")) == (2, 1, 3)

    check_that_they_are_no_difference(clone, *names)


def check_that_they_are_no_difference(clone: Path, one: str, other: str) -> None:
    """Compare two trainings of one setting, of which each has another model."""
    ran = run(clone, "compare", one, other)
    assert ran.returncode == 0, ran.stderr
    [main] = [line.split() for line in ran.stdout.splitlines() if line.split()[:1] == ["map"]]
    assert main[1] != main[2]
    assert ran.stdout.splitlines()[-1].startswith(
        "verdict: no difference: trainings of one setting (seeds "
    )

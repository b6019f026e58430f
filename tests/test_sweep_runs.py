"""A sweep in DVC's real queue: killed, continued, and with a failed experiment."""

from pathlib import Path

from tests.helpers.clone import dvc, skip_drawing
from tests.helpers.queue_runs import list_tracked_runs, read_tree, run, run_and_kill


def test_a_sweep_that_was_killed_continues_and_names_the_failed_experiment(clone: Path) -> None:
    skip_drawing(clone)
    (clone / "recipes/tiny.yaml").write_text(
        "# Tiny\ntrain: {epochs: 1}\n"
        "sweep:\n"
        "  - {batches.pk.classes: [4], evaluate.triplets: [1, 3]}\n"
        "  - {batches.pk.classes: [1000], evaluate.triplets: [3]}\n"
    )
    log = run_and_kill(clone, "sweep", "tiny")
    assert log.count(": queued\n") == 3, log
    before = read_tree(clone)
    ran = run(clone, "sweep", "tiny", "--jobs", "2")
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.count(": queued\n") == 1, ran.stderr  # the one that was killed
    assert ran.stderr.count(": queued before\n") == 2, ran.stderr
    assert read_tree(clone) == before

    header, *rows = [line.split() for line in ran.stdout.splitlines()[:4]]
    assert header[:3] == ["classes", "triplets", "val_map_at_r"]
    assert [row[:2] for row in rows] == [["4", "1"], ["4", "3"], ["1000", "3"]]
    assert [row[-1] == "failed" for row in rows] == [False, False, True]
    assert "sweep: classes=1000 triplets=3: split: batches.pk.classes: found 1000" in ran.stderr

    names = [name for name in dvc(clone, "exp", "list", "--name-only").stdout.split()
             if name.startswith("tiny_")]  # fmt: skip
    found = list_tracked_runs(clone)
    assert {found[name].data.params["evaluate.triplets"] for name in names} == {"1", "3"}
    status = dvc(clone, "queue", "status").stdout
    assert (status.count("Success"), status.count("Failed"), status.count("tiny_")) == (2, 1, 3)

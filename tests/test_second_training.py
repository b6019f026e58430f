"""A second training of one setting, and its comparison with the first."""

from pathlib import Path

from tests.helpers.clone import dvc, skip_drawing, stages_run
from tests.helpers.queue_runs import run


def test_two_seeds_of_one_setting_are_no_difference(clone: Path) -> None:
    skip_drawing(clone)
    assert dvc(clone, "repro", "plot", "--single-item").returncode == 0
    ran = dvc(clone, "exp", "run", "--name", "again", "-S", "train.seed=8")
    assert [stage for stage in stages_run(ran) if stage not in ("plot", "track")] == [
        "train",
        "embed@finetuned",
        "index@finetuned",
        "evaluate@finetuned",
    ]
    seeds = run(clone, "compare", "HEAD", "again")
    assert seeds.returncode == 0, seeds.stderr
    lines = [line.split() for line in seeds.stdout.splitlines()]
    assert "train.seed: null -> 8" in seeds.stdout
    [main] = [line for line in lines if line[:1] == ["map"]]
    assert main[1] != main[2]  # it is another training
    assert seeds.stdout.splitlines()[-1].startswith(
        "verdict: no difference: trainings of one setting (seeds 7, 8); map"
    )

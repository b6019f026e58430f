"""Why an experiment failed, from what DVC prints of it."""

import pytest

from app.experiments.dvc_adapter.run_log import find_failure_reason


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
        ("", "it did not start, so there is no log; run again"),
    ],
)
def test_the_reason_of_a_failure_is_the_line_of_the_stage(log: str, reason: str) -> None:
    assert find_failure_reason(log) == reason

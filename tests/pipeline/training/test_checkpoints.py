"""A checkpoint is whole or as it was before, and gone once its run is complete."""

from pathlib import Path

import pytest
import torch

from pipeline.data.files import PREFIX
from pipeline.training.checkpoints import Checkpoint


def test_what_is_saved_is_loaded_until_it_is_discarded(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "new", "run")
    assert checkpoint.load() is None
    checkpoint.save({"weights": torch.arange(3), "epoch": 2})
    loaded = checkpoint.load()
    assert loaded is not None
    assert loaded["epoch"] == 2
    assert torch.equal(loaded["weights"], torch.arange(3))
    checkpoint.discard()
    assert checkpoint.load() is None


def test_a_kill_while_saving_leaves_the_state_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "run")
    checkpoint.save({"epoch": 1})
    with pytest.raises(AttributeError, match="pickle"):
        checkpoint.save({"epoch": 2, "not to be saved": lambda: None})
    assert checkpoint.load() == {"epoch": 1}


def test_a_complete_run_leaves_no_checkpoint_not_even_of_abandoned_runs(
    tmp_path: Path,
) -> None:
    Checkpoint(tmp_path, "abandoned").save({"epoch": 1})
    (tmp_path / f"{PREFIX}killed").mkdir()
    (tmp_path / f"{PREFIX}killed/killed.pt").write_bytes(b"half of an epoch")
    finished = Checkpoint(tmp_path, "finished")
    finished.save({"epoch": 1})
    finished.discard()
    assert not list(tmp_path.iterdir())

"""A checkpoint is whole or as it was before, and gone once its run is complete."""

from pathlib import Path

import pytest
import torch

from pipeline.data.files import PREFIX
from pipeline.training.checkpoints import Checkpoint

# Where the numbers of `torch.arange(1000)` begin: 0, 1, 2 as int64.
NUMBERS = b"".join(number.to_bytes(8, "little") for number in range(3))


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


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "one bit", "text"])
def test_a_damaged_file_is_set_aside_and_told(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = Checkpoint(tmp_path, "run")
    checkpoint.save({"weights": torch.arange(1000)})
    whole = checkpoint.path.read_bytes()
    middle = len(whole) // 3
    damaged = {
        "empty": b"",
        "cut": whole[:middle],
        "flipped": bytes(255 - byte for byte in whole[:middle]) + whole[middle:],
        "one bit": whole[: whole.index(NUMBERS)] + b"\1" + whole[whole.index(NUMBERS) + 1 :],
        "text": b"no weights\n",
    }[damage]
    checkpoint.path.write_bytes(damaged)
    assert checkpoint.load() is None
    assert checkpoint.load() is None  # nothing is there any more, so it is not told again
    [line] = caplog.messages
    assert line.startswith(f"{tmp_path}/run.pt: damaged (")
    assert line.endswith(
        "); training begins anew, and the file is kept as run.pt.damaged until it ends"
    )
    assert (tmp_path / "run.pt.damaged").read_bytes() == damaged
    checkpoint.discard()
    assert not list(tmp_path.iterdir())

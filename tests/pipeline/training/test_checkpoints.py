from pathlib import Path

import torch

from pipeline.training.checkpoints import Checkpoint, fingerprint


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
    (tmp_path / "run.part").write_bytes(b"half of epoch 2")
    assert checkpoint.load() == {"epoch": 1}


def test_a_fingerprint_changes_with_settings_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("one")
    first = fingerprint("lr 1", [folder])
    assert fingerprint("lr 1", [folder]) == first
    assert fingerprint("lr 2", [folder]) != first
    (folder / "a").write_text("two")
    second = fingerprint("lr 1", [folder])
    assert second != first
    (folder / "a").rename(folder / "b")
    assert fingerprint("lr 1", [folder]) not in {first, second}

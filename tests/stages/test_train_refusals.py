"""The train stage: what it refuses before it trains."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config.load import read_params
from pipeline.config.schema import Params
from pipeline.errors import UserError
from stages import runner, train
from tests.helpers.paths import ROOT


def params_with(tmp_path: Path, batches: str) -> Params:
    text = (ROOT / "params.yaml").read_text()
    assert text.count("  name: pk\n") == 1
    (tmp_path / "params.yaml").write_text(text.replace("  name: pk\n", f"  name: {batches}\n"))
    return read_params(tmp_path / "params.yaml")


def test_batches_of_triplets_need_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of another run, such as one whose batches need none, is empty."""
    params = params_with(tmp_path, "triplets")
    monkeypatch.setattr(runner, "load", lambda: params)
    data = SimpleNamespace(triplets=np.empty((0, 3), dtype=np.int64))
    monkeypatch.setattr(train, "read_training_data", lambda **_: data)
    names = ("baseline", "images", "catalog", "splits", "checkpoints", "out", "metrics", "history")
    with pytest.raises(UserError) as error:
        train.main(**{name: tmp_path / name for name in names}, triplets=Path("t.parquet"))
    assert str(error.value) == (
        "t.parquet: found no triplets; batches.name triplets needs some; "
        "run: dvc repro mine, or choose another batches.name"
    )

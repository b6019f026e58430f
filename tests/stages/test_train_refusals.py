"""The train stage: what it refuses before it trains."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config.load import read_params
from pipeline.config.schema import Params
from pipeline.errors import UserError
from stages import train
from tests.helpers.paths import ROOT


def params_with(tmp_path: Path, batches: str) -> Params:
    text = (ROOT / "params.yaml").read_text()
    assert text.count("  name: pk\n") == 1
    (tmp_path / "params.yaml").write_text(text.replace("  name: pk\n", f"  name: {batches}\n"))
    return read_params(tmp_path / "params.yaml")


def test_batches_of_triplets_need_some(tmp_path: Path) -> None:
    """A table of another run, such as one whose batches need none, is empty."""
    params = params_with(tmp_path, "triplets")
    data = SimpleNamespace(triplets=np.empty((0, 3), dtype=np.int64))
    with pytest.raises(UserError) as error:
        train._train(None, data, params, tmp_path, None, None)  # type: ignore[arg-type]
    assert str(error.value) == (
        "no triplets were mined; batches.name triplets needs some; "
        "run: dvc repro mine, or choose another batches.name"
    )

"""A model is published with its own metrics and params.yaml: by what dvc.lock records."""

from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from app.experiments.dvc_adapter.lock import hash_folder
from app.publishing.recorded import read_settings, require_recorded, require_recorded_results
from pipeline.errors import UserError
from tests.helpers.overlay import overlaid

VALUES = {"seed": 7, "loss": {"name": "supcon", "supcon": {"temperature": 0.1}}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A model, its metrics, and the dvc.lock of the run that made both."""
    texts = {
        "models/a/model.json": "{}",
        "metrics/a.json": '{"map": 1.0}',
        "results/a/queries.parquet": "of a",
    }
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    write_lock(tmp_path)
    return tmp_path


def write_lock(root: Path, *, embedded: str | None = None) -> None:
    """embedded: the hash of the model that the stage `evaluate` read; None: of the one there."""
    model = hash_folder(root / "models/a")
    metrics = md5((root / "metrics/a.json").read_bytes(), usedforsecurity=False).hexdigest()
    made_with = {"seed": 7, "loss.name": "supcon", "loss.supcon": {"temperature": 0.1}}
    stages: dict[str, Any] = {
        "train": {
            "params": {"params.yaml": made_with},
            "outs": [{"path": "models/a", "md5": model}],
        },
        "evaluate@a": {
            "deps": [{"path": "models/a", "md5": embedded or model}],
            "outs": [
                {"path": "metrics/a.json", "md5": metrics},
                {"path": "results/a", "md5": hash_folder(root / "results/a")},
            ],
        },
    }
    with (root / "dvc.lock").open("w") as file:
        YAML().dump({"schema": "2.0", "stages": stages}, file)


def error_line(root: Path, values: dict[str, Any]) -> str:
    with pytest.raises(UserError) as raised:
        require_recorded(root, "a", values)
    return str(raised.value)


def test_what_one_run_made_belongs_together(project: Path) -> None:
    require_recorded(project, "a", VALUES)
    require_recorded(project, "a", VALUES | {"track": {"experiment": "else"}})


def test_without_a_record_nothing_is_compared(project: Path) -> None:
    require_recorded(project, "b", {})
    (project / "dvc.lock").unlink()
    require_recorded(project, "a", {"seed": 8})


def test_another_model_is_one_line(project: Path) -> None:
    (project / "models/a/model.json").write_text('{"other": 1}')
    assert error_line(project, VALUES) == (
        f"{project / 'models/a'}: is not the model that dvc.lock records; bring that back: "
        "dvc checkout, or make it again: dvc repro"
    )


def test_metrics_of_another_model_are_one_line(project: Path) -> None:
    expected = f"{project / 'metrics/a.json'}: not measured of this models/a; run: dvc repro"
    write_lock(project, embedded="0" * 32)
    assert error_line(project, VALUES) == expected
    write_lock(project)
    (project / "metrics/a.json").write_text('{"map": 0.5}')
    assert error_line(project, VALUES) == expected


def test_params_that_were_changed_since_are_one_line(project: Path) -> None:
    assert error_line(project, VALUES | {"seed": 8}) == (
        f"{project / 'params.yaml'}: seed: found 8; models/a was made with 7; set that, or run: "
        "dvc repro"
    )


def test_results_of_another_run_are_one_line(project: Path) -> None:
    expected = f"{project / 'results/a'}: not measured of this models/a; run: dvc repro"
    require_recorded_results(project, "a")
    require_recorded_results(project, "b")  # which has no record
    (project / "results/a/queries.parquet").write_text("of another")
    with pytest.raises(UserError) as raised:
        require_recorded_results(project, "a")
    assert str(raised.value) == expected
    write_lock(project, embedded="0" * 32)
    with pytest.raises(UserError) as raised:
        require_recorded_results(project, "a")
    assert str(raised.value) == expected


def test_a_variant_is_compared_with_what_it_changes(tmp_path: Path) -> None:
    loss = {"name": "arcface", "arcface": {"margin": 9.0, "scale": 8.0}}
    changes = {
        "models": ["baseline", "finetuned", "arc"],
        "variants": {"arc": {"loss": loss}},
    }
    with (tmp_path / "params.yaml").open("w") as out:
        YAML().dump(overlaid(changes), out)
    of_variant = read_settings(tmp_path, "arc")
    assert (of_variant["loss"]["name"], of_variant["loss"]["arcface"]["margin"]) == ("arcface", 9.0)
    assert read_settings(tmp_path, "finetuned")["loss"]["name"] == "multi_similarity"

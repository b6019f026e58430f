"""The project around a command: what its stages write."""

from pathlib import Path

import pytest

from app.project import list_stage_outputs
from pipeline.errors import UserError


def test_outputs_are_files_and_folders_before_a_variable(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages: {a: {outs: [x, {y.txt: {cache: false}}]}, b: {metrics: ['results/${item}']}}"
    )
    wanted = [tmp_path / "x", tmp_path / "y.txt", tmp_path / "results"]
    assert list_stage_outputs(tmp_path) == wanted


@pytest.mark.parametrize(
    "text", ["[1]", "stages: [a]", "stages: {a: {outs: [1]}}", "stages: {a: b}"]
)
def test_another_file_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        list_stage_outputs(tmp_path)
    wanted = f"{tmp_path / 'dvc.yaml'}: not a DAG of DVC; run: git checkout dvc.yaml"
    assert str(caught.value) == wanted

"""The folder of a model: its files are those of the model, and nothing of one machine is there."""

import json
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from app.commands.export import export_images
from app.publishing.model_folder import write_model_folder
from app.publishing.shared_params import without_places
from pipeline.config.load import read_yaml
from pipeline.data.lineage import MODEL_FILES, TEXT_FILE
from pipeline.errors import UserError
from pipeline.models.embedder import load_embedder
from tests.helpers import searchable
from tests.helpers.measured import HEADLINE


def write(root: Path, name: str) -> Path:
    out = root / f"exported-{name}"
    out.mkdir()
    write_model_folder(root, name, out)
    return out


def error_line(root: Path, name: str) -> str:
    with pytest.raises(UserError) as raised:
        write(root, name)
    return str(raised.value)


def test_the_files_are_those_of_the_model(project: Path) -> None:
    (project / "models/finetuned" / TEXT_FILE).write_bytes(b"words")
    for name in MODEL_FILES:
        (project / "models/finetuned" / name).chmod(0o444)  # as DVC's links to its cache are
    out = project / "out"
    export_images(project, out, model="best", kind="hub", side=0)
    names = {path.name for path in out.iterdir()}
    assert names == {*MODEL_FILES, TEXT_FILE, "params.yaml", "metrics.json", "README.md"}
    for name in (*MODEL_FILES, TEXT_FILE):
        content = (project / "models/finetuned" / name).read_bytes()
        assert (out / name).read_bytes() == content
        assert (out / name).stat().st_mode & 0o200
    assert json.loads((out / "metrics.json").read_text()) == HEADLINE
    assert load_embedder(out).dim == 16
    assert "| words | understood too:" in (out / "README.md").read_text()


def test_no_place_of_this_machine_is_in_the_folder(tmp_path: Path) -> None:
    root = searchable.build(tmp_path / "project")
    values = read_yaml(root / "params.yaml")
    values["data"]["source"] = values["added"]["source"] = "/home/someone/images"
    values["backbone"]["weights"] = "/home/someone/own.safetensors"
    values["cluster"] = "tcp://10.1.2.3:8786"
    values["launch"] = "/home/someone/python"
    with (root / "params.yaml").open("w") as file:
        YAML().dump(values, file)
    out = write(root, "finetuned")
    for path in out.iterdir():
        content = path.read_bytes()
        for private in (b"someone", b"10.1.2.3", str(tmp_path).encode()):
            assert private not in content, path
    shared = read_yaml(out / "params.yaml")
    assert (shared["data"]["source"], shared["added"]["source"]) == (None, None)
    assert shared["backbone"]["weights"] == "own.safetensors"
    assert shared["loss"] == values["loss"]


def test_a_relative_source_is_a_place_too() -> None:
    values = {"data": {"source": "images", "huggingface": {"path": "me/pets"}}, "seed": 7}
    shared = {"data": {"source": None, "huggingface": {"path": "me/pets"}}, "seed": 7}
    assert without_places(values) == shared
    assert values["data"] != shared["data"]  # itself is as it was


def test_a_missing_model_is_one_line(project: Path) -> None:
    assert error_line(project, "finetined") == (
        f"{project / 'models/finetined/model.json'}: no such file or folder; bring back what the "
        "last run made: dvc checkout, make it: dvc repro, or if the project has a remote, fetch "
        "it: dvc pull"
    )


def test_a_damaged_model_is_not_published(project: Path) -> None:
    path = project / "models/finetuned/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="its digest is not that of it and"):
        export_images(project, project / "out", model="best", kind="hub", side=0)
    assert not (project / "out").exists()


def test_vectors_of_another_model_are_one_line(project: Path) -> None:
    searchable.write_random_models(project, seed=2)
    assert error_line(project, "finetuned") == (
        f"{project / 'embeddings/finetuned'}: made by another model than "
        f"{project / 'models/finetuned'}; run: dvc repro embed, or take both from one run: "
        "dvc checkout"
    )


@pytest.mark.slow
def test_a_model_that_only_this_machine_can_build_is_one_line(searchable_by_text: Path) -> None:
    with pytest.raises(UserError) as raised:
        export_images(
            searchable_by_text, searchable_by_text / "out", model="baseline", kind="hub", side=0
        )
    line = str(raised.value)
    assert line.startswith(f"{searchable_by_text / 'models/baseline'}: backbone.name: found 'open_")
    assert line.endswith(
        "', without which others cannot load the model; allowed: one of timm, open_clip or the "
        "Hub; take that, run: dvc repro"
    )


def test_a_model_that_changes_meanwhile_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile

    def copy_of_another(path: Path, to: Path) -> None:
        copy(project / "models/baseline" / path.name, to)

    monkeypatch.setattr(shutil, "copyfile", copy_of_another)
    assert error_line(project, "finetuned") == (
        f"{project / 'models/finetuned'}: changed while it was read; run it again when dvc repro "
        "is done"
    )

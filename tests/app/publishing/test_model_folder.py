"""The folder of a model: its files are those of the model, and nothing of one machine is there."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
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
from tests.helpers.paths import ROOT


def write(root: Path, name: str) -> Path:
    out = root / f"exported-{name}"
    out.mkdir()
    write_model_folder(root, name, out, title="birds")
    ModelCard.load(out / "README.md")  # as the Hub reads it
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
    values["launch"] = "/home/someone/python -m stages.torchrun --rdzv-endpoint node7.someone:29500"
    values["track"]["experiment"] = "birds of someone"
    values["data"]["mit_split"]["url"] = "https://someone:token@host.org/x.zip"
    values["data"]["folder"]["table"] = "../someone/labels.csv"
    with (root / "params.yaml").open("w") as file:
        YAML().dump(values, file)
    out = write(root, "finetuned")
    for path in out.iterdir():
        content = path.read_bytes()
        for private in (b"someone", b"10.1.2.3", str(tmp_path).encode()):
            assert private not in content, path
    shared = read_yaml(out / "params.yaml")
    assert (shared["data"]["source"], shared["added"]["source"]) == (None, None)
    assert (shared["launch"], shared["cluster"]) == ("python", None)
    assert shared["track"] == values["track"] | {"experiment": "lookalike"}
    assert shared["data"]["folder"]["table"] is None
    assert shared["data"]["mit_split"]["url"] is None
    assert shared["backbone"]["weights"] == "own.safetensors"
    assert shared["loss"] == values["loss"]


def test_a_relative_source_is_a_place_too() -> None:
    values = {"data": {"source": "images", "huggingface": {"path": "me/pets"}}, "seed": 7}
    shared = {"data": {"source": None, "huggingface": {"path": "me/pets"}}, "seed": 7}
    assert without_places(values) == shared
    assert values["data"] != shared["data"]  # itself is as it was


def test_of_a_fresh_project_only_the_sources_are_left_out() -> None:
    values = read_yaml(ROOT / "params.yaml")
    shared = without_places(values)
    values["data"]["source"] = values["added"]["source"] = None
    assert shared == values


@pytest.mark.parametrize(
    "text",
    [
        "/home/me/x",
        "~/x",
        "~me",
        "a,/home/me",
        "a=/home/me",
        r"C:\Users\me",
        r"\\server\share\x",
        "${HOME}/x",
        "$HOME",
        "../secret/x",
        "..",
        "./x",
        "a/../b",
        "a b",
        "me@host",
        "file:///home/me/x.zip",
        "http://10.1.2.3/x.zip",
        "a\nb",
        "word\n",
        "ä",
        "",
    ],
)
def test_a_text_of_no_known_form_is_null(text: str) -> None:
    values = {
        "data": {
            "folder": {"table": text},
            "mit_split": {"url": text},
            "huggingface": {"path": text, "revision": text, "config": text},
        },
        "backbone": {"name": text},
        "index": {"factory": text},
        "models": [text],
    }
    assert without_places(values) == {
        "data": {
            "folder": {"table": None},
            "mit_split": {"url": None},
            "huggingface": {"path": None, "revision": None, "config": None},
        },
        "backbone": {"name": None},
        "index": {"factory": None},
        "models": [None],
    }


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("data.folder.table", "labels.csv"),
        ("data.huggingface.path", "me/pets"),
        ("data.huggingface.revision", "refs/convert/parquet"),
        ("backbone.name", "timm:resnet50.a1_in1k"),
        ("backbone.name", "timm:hf-hub:timm/test_vit.r160_in1k@main"),
        ("index.factory", "IVF64,Flat"),
        ("train.monitor", "recall_at_1"),
        ("data.mit_split.url", "https://example.org/a/mit_split.tar.gz"),
    ],
)
def test_a_text_that_is_public_stays(key: str, text: str) -> None:
    *sections, last = key.split(".")
    values: dict[str, Any] = {last: text}
    for section in reversed(sections):
        values = {section: values}
    assert without_places(values) == values


@pytest.mark.parametrize(
    "url",
    [
        "file:///home/me/x.zip",
        "http://example.org/x.zip",
        "http://nas.local/x.zip",
        "https://user:token@example.org/x",
        "https://user@example.org/x",
        "https://example.org/x?sig=SECRET",
        "https://example.org/x#part",
        "https://example.org:8443/x",
        "https://10.1.2.3/x",
        "https://[::1]/x",
        "https://nas/x",
        "https://example.org/${TOKEN}",
        "https://example.org/x;sig=SECRET",
        "https://example.org/x y",
        "https://example.org/x\n",
        "s3://bucket/x",
        "word",
    ],
)
def test_an_address_that_is_not_plainly_public_is_null(url: str) -> None:
    values = {"data": {"mit_split": {"url": url}}}
    assert without_places(values) == {"data": {"mit_split": {"url": None}}}


@pytest.mark.parametrize(
    "launch", ["python", "/home/me/python", "torchrun --rdzv-endpoint node7:29500", "node7"]
)
def test_how_it_was_started_and_tracked_is_as_in_a_fresh_project(launch: str) -> None:
    values = {"launch": launch, "cluster": "node7:8786", "track": {"experiment": "of-me"}}
    shared = {"launch": "python", "cluster": None, "track": {"experiment": "lookalike"}}
    assert without_places(values) == shared
    fresh = read_yaml(ROOT / "params.yaml")
    assert {name: fresh[name] for name in ("launch", "cluster")} == {
        "launch": "python", "cluster": None,
    }  # fmt: skip
    assert fresh["track"]["experiment"] == "lookalike"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("packaged", "packaged"),
        ("imagenet", "imagenet"),
        (None, None),
        ("../secret/own.pt", "own.pt"),
        (r"\\server\share\own.pt", "own.pt"),
        ("${HOME}/own.safetensors", "own.safetensors"),
        ("/home/me/of me & you.safetensors", "weights.safetensors"),
        ("https://host/own.pt?sig=SECRET", "weights"),
        ("~me", "weights"),
    ],
)
def test_of_a_file_of_weights_its_name_stays(weights: str | None, expected: str | None) -> None:
    shared = without_places({"backbone": {"weights": weights}})
    assert shared == {"backbone": {"weights": expected}}


def test_keys_and_values_of_other_types_are_left_out() -> None:
    values = {"variants": {"a": {"loss": {"name": "b"}}, "/home/me": 1}, "x": b"y", "n": [1, None]}
    shared = {"variants": {"a": {"loss": {"name": "b"}}}, "x": None, "n": [1, None]}
    assert without_places(values) == shared


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

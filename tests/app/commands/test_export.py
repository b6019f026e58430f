"""`lookalike export`: the files are read by real engines, whose neighbors are ours."""

import ast
import io
import logging
import re
import shutil
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from app.commands.export import export_images
from app.searching.catalog import Catalog
from app.searching.model_index import ModelIndex
from app.searching.onnx_file import write_onnx
from app.searching.untrusted_images import read_photo
from pipeline.data.embeddings import read_embeddings, write_embeddings
from pipeline.data.principal_axes import fit_axes
from pipeline.data.tables import SPLITS, read_table
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from pipeline.index.postprocessing import make_postprocessing
from pipeline.index.postprocessing_options import NO_STEPS
from pipeline.models.embed_images import embed_pixels
from pipeline.models.embedder import build_baseline
from tests.helpers import searchable
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with 40 images and one that was added without a label."""
    root = searchable.build(tmp_path_factory.mktemp("project"))
    drawn = searchable.drawn_images()[0]
    searchable.pack_added_images(root, [SourceImage("added/new.jpg", (), drawn.read)])
    for model in ("baseline", "finetuned"):
        searchable.embed_again(root, model)
        searchable.index_again(root, model)
    return root


@pytest.fixture(scope="module")
def parquet(project: Path) -> pa.Table:
    out = project / "exported/once"
    export_images(project, out, model="best", kind="parquet", side=32)
    return pq.read_table(out)


def test_each_image_has_a_row_with_all_that_is_known_of_it(
    project: Path, parquet: pa.Table
) -> None:
    ids, vectors = read_embeddings(project / "embeddings/finetuned")
    catalog = Catalog(project)
    splits = read_table(project / "data/splits.parquet", SPLITS)
    split_of = dict(zip(splits["image_id"].to_pylist(), splits["split"].to_pylist(), strict=True))
    rows = {row["image_id"]: row for row in parquet.to_pylist()}
    assert sorted(rows) == sorted([*ids, "added/new.jpg"])
    assert len({row["id"] for row in rows.values()}) == len(rows)
    for image_id, vector in zip(ids, vectors, strict=True):
        row = rows[image_id]
        np.testing.assert_array_equal(np.array(row["vector"], np.float32), vector)
        assert row["classes"] == catalog.classes_of(image_id)
        assert row["group"] == catalog.group_of(image_id)
        assert row["split"] == split_of[image_id]
        thumbnail = Image.open(io.BytesIO(row["thumbnail"]))
        assert (thumbnail.format, max(thumbnail.size)) == ("JPEG", 32)
    added = rows["added/new.jpg"]
    assert (added["classes"], added["group"], added["split"]) == ([], None, None)


def test_files_are_of_bounded_size(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.commands.export.ROWS_OF_A_FILE", 10)
    out = project / "parts"
    export_images(project, out, model="baseline", kind="parquet", side=0)
    parts = [pq.read_table(path) for path in sorted(out.iterdir())]
    assert len(parts) > 1
    assert sum(map(len, parts)) == 41
    assert "thumbnail" not in parts[0].column_names
    assert parts[0]["vector"].type == pa.list_(pa.float32(), 512)


def exact(table: pa.Table, query: int, k: int) -> list[str]:
    """Return the nearest k image_ids by the cosine, the query among them."""
    vectors = np.array(table["vector"].to_pylist(), np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.argsort(-(vectors @ vectors[query]), kind="stable")[:k]
    return [table["image_id"][int(row)].as_py() for row in order]


def test_the_examples_of_the_documentation_find_what_exact_search_does(
    project: Path, parquet: pa.Table, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real engines in this process: LanceDB and Qdrant."""
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs/scaling.md").read_text(), re.S)
    assert len(examples) == 3
    with chdir(project):
        for kind in ("lance", "parquet"):
            out = Path("exported", kind)
            export_images(Path(), out, model="best", kind=kind, side=32)
        for example in examples[:2]:
            exec(example, {})  # noqa: S102 (what the document shows)
    expected = exact(parquet, 0, 5)
    classes_of = dict(
        zip(*(parquet[name].to_pylist() for name in ("image_id", "classes")), strict=True)
    )
    printed = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [[(each, classes_of[each]) for each in expected]] * 2


def test_engines_keep_the_rest_of_a_row_and_filter_by_it(project: Path, parquet: pa.Table) -> None:
    export_images(project, project / "lance", model="best", kind="lance", side=32)
    import lancedb  # which takes seconds, and each process collects this file

    table = lancedb.connect(project / "lance").open_table("images")
    assert table.count_rows() == len(parquet)
    assert len(table.list_versions()) == 1  # written in one go
    query = parquet["vector"][3].as_py()
    [found] = table.search(query).where("array_has(classes, 'red disc')").limit(1).to_list()
    assert found["classes"] == ["red disc"]
    thumbnail_of = dict(
        zip(*(parquet[name].to_pylist() for name in ("id", "thumbnail")), strict=True)
    )
    assert found["thumbnail"] == thumbnail_of[found["id"]]


def test_what_is_there_is_not_overwritten(project: Path, parquet: pa.Table) -> None:
    out = project / "exported/once"
    with pytest.raises(UserError) as raised:
        export_images(project, out, model="best", kind="parquet", side=0)
    assert str(raised.value) == (
        f"{out}: is there already; allowed: a new folder; name another, or remove it"
    )
    assert len(pq.read_table(out)) == len(parquet)


def test_an_unknown_format_is_one_line(project: Path) -> None:
    with pytest.raises(UserError) as raised:
        export_images(project, project / "other", model="best", kind="lanse", side=0)
    assert str(raised.value) == (
        "--format: found 'lanse'; allowed: hub, lance, onnx, parquet; did you mean 'lance'?"
    )
    assert not (project / "other").exists()


def test_without_the_library_of_a_format_there_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(UserError) as raised:
        export_images(project, project / "other", model="best", kind="lance", side=0)
    assert str(raised.value) == (
        "--format: lance needs the package lancedb; allowed: parquet, or install it: "
        "pip install lancedb"
    )
    assert not (project / "other").exists()


@pytest.mark.parametrize("kind", ["parquet", "lance"])
def test_a_project_of_labels_alone_is_one_line(project: Path, tmp_path: Path, kind: str) -> None:
    root = tmp_path / "project"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("exported", "lance", "parts"))
    for folder in ("embeddings/finetuned", "embeddings/added/finetuned"):
        shutil.rmtree(root / folder)
        write_embeddings(root / folder, [], np.empty((0, 16), np.float32))
    with pytest.raises(UserError) as raised:
        export_images(root, root / "out", model="finetuned", kind=kind, side=0)
    assert str(raised.value) == (
        f"{root / 'embeddings/finetuned'}: holds no vectors, because no images were packed, only "
        "their labels; allowed here: vectors; set data.<name>.images: true"
    )
    assert not (root / "out").exists()


def test_a_damaged_bucket_writes_nothing(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "project"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("exported", "lance", "parts"))
    first = min((root / "embeddings/finetuned").glob("0*.parquet"))
    first.write_bytes(first.read_bytes()[:-40])
    with caplog.at_level(logging.INFO), pytest.raises(UserError, match="damaged"):
        export_images(root, root / "out", model="finetuned", kind="parquet", side=0)
    assert not (root / "out").exists()
    assert caplog.messages == []


def test_the_example_of_a_model_embeds_as_a_query_does(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """onnxruntime, in a folder without a project."""
    export_images(project, tmp_path / "exported/onnx", model="best", kind="onnx", side=0)
    (tmp_path / "photo.jpg").write_bytes(searchable.draw("green", "disc", 99))
    example = re.findall(r"```python\n(.*?)```", (ROOT / "docs/scaling.md").read_text(), re.S)[2]
    capsys.readouterr()
    with chdir(tmp_path):
        exec(example, {})  # noqa: S102 (what the document shows)
    printed = ast.literal_eval(capsys.readouterr().out)
    index = ModelIndex(project, "finetuned")
    expected = index.embed(read_photo(tmp_path / "photo.jpg"))
    np.testing.assert_allclose(printed, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("hflip", "steps"),
    [
        (False, {"center": True, "pca": None, "whiten": 0.0}),
        (True, {"center": True, "pca": 5, "whiten": 0.5}),
    ],
)
def test_a_model_does_what_its_index_has_done(
    hflip: bool, steps: dict[str, Any], tmp_path: Path
) -> None:
    import onnxruntime

    model = build_baseline("timm:test_vit", image_size=32, pooling="avg", weights=None, seed=1)
    vectors = np.random.default_rng(0).normal(0.1, 1, (60, model.dim)).astype(np.float32)
    chosen = NO_STEPS.model_copy(update=steps)
    axes = fit_axes(vectors, center=chosen.center, seed=0)
    done = make_postprocessing(axes, chosen, distance="cosine")
    write_onnx(tmp_path / "model.onnx", model, done, hflip=hflip)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for count in (1, 5):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        [found] = session.run(None, {"pixels": pixels})
        with torch.inference_mode():
            embedded = embed_pixels(model, torch.from_numpy(pixels), hflip=hflip).numpy()
        np.testing.assert_allclose(found, done.apply(embedded), atol=1e-4)


def test_without_the_packages_a_model_is_not_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError) as raised:
        export_images(project, tmp_path / "out", model="best", kind="onnx", side=0)
    assert str(raised.value) == (
        "--format: onnx needs the packages onnx and onnxscript; allowed: parquet, or install "
        "them: uv pip install onnx onnxscript"
    )
    assert not (tmp_path / "out").exists()

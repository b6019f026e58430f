"""The library's functions as docs/library.md shows them."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline import api
from pipeline.data.label_sets import from_lists
from pipeline.errors import UserError
from pipeline.evaluation.measure import measure
from pipeline.models.devices import find_device
from pipeline.models.embed_images import embed_images
from pipeline.models.embedder import Embedder
from tests.helpers.encoded_images import encode, exif_of, photograph
from tests.helpers.library_page import PAGE, render
from tests.helpers.packer import packed
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment
from tests.helpers.searchable import draw


def test_the_page_is_made_of_the_docstrings() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python -m tests.helpers.library_page"


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    for color in ("red", "green"):
        folder = tmp_path / "photos" / color
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number}.jpg").write_bytes(draw(color, "disc", number))
    (tmp_path / "query.jpg").write_bytes(draw("green", "disc", 1))
    (tmp_path / "example.py").write_text(example)
    ran = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    *found, recall = ran.stdout.splitlines()
    assert found[0] == "1.000  photos/green/1.jpg"
    assert len(found) == 3
    assert 0 <= float(recall) <= 1


def test_what_the_page_says_of_a_run_reads_it(
    searchable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(searchable)
    calls = re.findall(r"`(read_\w+\(.*?\))`", PAGE.read_text(encoding="utf-8"))
    assert [call.partition("(")[0] for call in calls] == ["read_embeddings", "read_index"]
    # The page's own words, which nobody else writes.
    (ids, vectors), (index, rows) = (eval(f"api.{call}", {"api": api}) for call in calls)  # noqa: S307
    assert vectors.shape == (len(ids), 16) == (index.ntotal, index.d)
    assert ids == rows
    found = api.search_index(index, vectors, vectors, k=1)
    assert found.rows[:, 0].tolist() == list(range(len(rows)))
    assert found.scores == pytest.approx(1, abs=1e-5)


def test_what_a_run_did_not_make_is_named(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    with pytest.raises(UserError) as caught:
        api.read_embeddings(gone)
    assert str(caught.value).startswith(
        f"{gone}/_manifest.parquet: no such file; make it: dvc repro"
    )
    with pytest.raises(UserError) as caught:
        api.read_index(gone)
    assert str(caught.value).startswith(f"{gone}/ids.parquet: no such file; run the stage that")


# --- embeddings ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Embedder:
    return api.load_network("resnet18", weights=None, image_size=32)


def turned() -> bytes:
    return encode("JPEG", exif=exif_of(6))


def transparent() -> bytes:
    image = photograph().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return encode("PNG", image)


def deep() -> bytes:
    """Return 16 bits of gray, of which Pillow would clip nearly all to white."""
    levels = np.asarray(photograph().convert("L")).astype(np.uint16) * 257
    return encode("PNG", Image.fromarray(levels))


def large() -> bytes:
    return encode("JPEG", photograph().resize((1024, 853), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("make", [partial(draw, "red", "square", 3), turned, transparent, deep])
def test_an_image_has_one_vector_whatever_it_is_given_as(
    make: Callable[[], bytes], tmp_path: Path, model: Embedder
) -> None:
    path = tmp_path / "image"
    path.write_bytes(make())
    opened, loaded = Image.open(path), Image.open(path)
    loaded.load()
    given = [path, str(path), make(), opened, loaded, loaded.copy()]
    found = api.embed_images(model, given, hflip=True)
    assert found.shape == (6, 512)
    assert (found == found[0]).all()
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)


def test_of_a_large_jpeg_the_vector_of_the_open_image_differs_a_little(
    tmp_path: Path, model: Embedder
) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(large())
    by_path, by_bytes, opened = api.embed_images(model, [path, large(), Image.open(path)])
    assert np.array_equal(by_path, by_bytes)
    assert 0.999 < by_path @ opened < 1


def test_vectors_are_those_of_the_pipeline(tmp_path: Path, model: Embedder) -> None:
    made = {"turned": turned(), "transparent": transparent(), "deep": deep(), "large": large()}
    for name, encoded in made.items():
        (tmp_path / name).write_bytes(encoded)
    expected = embed_images(
        model,
        packed(tmp_path / "packed", **made),
        list(made),
        batch_size=2,
        precision=torch.float32,
        workers=0,
        device=find_device(),
    )
    found = api.embed_images(model, [tmp_path / name for name in made])
    assert found == pytest.approx(expected, abs=1e-5)


def test_images_may_be_none_many_or_one_after_the_other(model: Embedder) -> None:
    assert api.embed_images(model, []).shape == (0, 512)
    image = Image.open(io.BytesIO(turned()))  # the same one, in several threads
    found = api.embed_images(model, (image for _ in range(400)))
    assert np.allclose(found, found[0], atol=1e-6)


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, model: Embedder) -> None:
    with pytest.raises(UserError, match=r"gone.jpg: cannot be read \(No such file or directory\)"):
        api.embed_images(model, [tmp_path / "gone.jpg"])
    with pytest.raises(UserError, match=r"^image 1: "):
        api.embed_images(model, [draw("red", "disc", 1), b"no image"])


# --- what is computed of vectors ----------------------------------------------------------------


def test_measures_are_those_of_the_stage_and_labels_may_be_several() -> None:
    vectors = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
    labels = [[row % 4, 4 + row % 3] for row in range(40)]
    query = np.arange(40) < 10
    found = api.measure_retrieval(vectors, labels, is_query=query, k=[1, 3], knn=3)
    everything = np.ones(40, dtype=bool)
    expected = measure(
        *(vectors, from_lists(labels), query, everything), distance="cosine", k=[1, 3], knn=3
    )
    assert found == expected.means


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_search_is_the_sorted_distances(distance: str) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    queries = rng.normal(size=(5, 8)).astype(np.float32)
    index = api.build_index(vectors, distance=distance)
    found = api.search_index(index, vectors, queries, k=4)
    if distance == "cosine":
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
        scores = queries @ vectors.T / lengths
    else:
        scores = -np.linalg.norm(queries[:, None] - vectors, axis=2)
    assert (found.rows == np.argsort(-scores, axis=1)[:, :4]).all()
    assert found.scores == pytest.approx(-np.sort(-scores, axis=1)[:, :4], abs=1e-5)


def test_several_trainings_are_one_side_of_a_comparison() -> None:
    rng = np.random.default_rng(3)
    ids = [f"{row:02}" for row in range(60)]
    tables = [
        pd.DataFrame({"image_id": ids, "average_precision": rng.uniform(0.2, 0.4, 60)})
        for _ in range(4)
    ]
    classes = pd.Series([("cup",)] * 60, index=ids)
    word, metrics = api.compare_models(tables[:2], tables[2:], classes)
    assert (word, list(metrics["metric"])) == ("no difference", ["map"])

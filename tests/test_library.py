"""The library's functions as docs/library.md shows them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import api
from pipeline.data.label_sets import from_lists
from pipeline.errors import UserError
from pipeline.evaluation.measure import measure
from tests.helpers.library_page import PAGE, render
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


def test_embeddings_are_those_of_the_pipeline_whatever_an_image_is_given_as(tmp_path: Path) -> None:
    encoded = draw("red", "square", 3)
    (tmp_path / "a.jpg").write_bytes(encoded)
    model = api.load_network("resnet18", weights=None, image_size=32)
    opened = Image.open(tmp_path / "a.jpg")
    found = api.embed_images(
        model, [tmp_path / "a.jpg", str(tmp_path / "a.jpg"), encoded, opened], hflip=True
    )
    assert found.shape == (4, 512)
    assert (found == found[0]).all()
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    assert api.embed_images(model, []).shape == (0, 512)


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    model = api.load_network("resnet18", weights=None, image_size=32)
    with pytest.raises(UserError, match=r"gone.jpg: cannot be read \(No such file or directory\)"):
        api.embed_images(model, [tmp_path / "gone.jpg"])
    with pytest.raises(UserError, match=r"^image 1: "):
        api.embed_images(model, [draw("red", "disc", 1), b"no image"])


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

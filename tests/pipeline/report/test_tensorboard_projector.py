import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.figures.projection_sample import ProjectionSample
from pipeline.report.tensorboard_projector import MOST_PIXELS, sprite_side, write_projector
from pipeline.report.thumbnails import columns_of

COLORS = [(40 * row, 90, 200 - 40 * row) for row in range(5)]
SAMPLE = ProjectionSample(
    image_ids=["a", "b\tc", "d", "é<&", "f"],
    classes=[["cup"], ["jug", "pot"], ["pot"], ["cup"], ["li\nne"]],
    groups=["x", None, "y", "x", None],
    total=5,
)
VECTORS = {
    "baseline": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32) * 1000,
    "finetuned": np.array([[0, 1], [-0.5, 0.123456789], [1e-9, 1], [0, 0], [1, 1]], np.float32),
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    thumbnails = [Image.new("RGB", (96, 96), color) for color in COLORS]
    write_projector(tmp_path / "projector", SAMPLE, VECTORS, thumbnails)
    return tmp_path / "projector"


def test_each_row_is_the_vector_the_names_and_the_image_of_one_point(written: Path) -> None:
    for model, vectors in VECTORS.items():
        read = np.loadtxt(written / f"vectors_{model}.tsv", delimiter="\t", dtype=np.float32)
        assert read.shape == vectors.shape
        np.testing.assert_allclose(read, vectors, rtol=1e-4)
    assert (written / "metadata.tsv").read_text(encoding="utf-8").split("\n") == [
        "class\tgroup\timage_id",
        "cup\tx\ta",
        "jug, pot\t\tb c",
        "pot\ty\td",
        "cup\tx\té<&",
        "li ne\t\tf",
        "",
    ]
    with Image.open(written / "sprite.png") as sprite:
        assert sprite.size == (3 * 48, 3 * 48)
        for row, color in enumerate(COLORS):
            assert sprite.getpixel((row % 3 * 48 + 24, row // 3 * 48 + 24)) == color


def test_the_configuration_names_files_that_are_there_the_trained_model_first(
    written: Path,
) -> None:
    text = (written / "projector_config.pbtxt").read_text()
    assert re.findall(r'tensor_name: "(.*)"', text) == ["finetuned", "baseline"]
    named = re.findall(r'_path: "(.*)"', text)
    assert len(named) == 6
    assert {path.name for path in written.iterdir()} == {*named, "projector_config.pbtxt"}
    assert text.count("single_image_dim: 48") == 4


def test_a_second_time_writes_the_same_bytes(written: Path, tmp_path: Path) -> None:
    thumbnails = [Image.new("RGB", (96, 96), color) for color in COLORS]
    write_projector(tmp_path / "again", SAMPLE, VECTORS, thumbnails)
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


@pytest.mark.parametrize("count", [1, 3000, 29_241, 40_000, 1_000_000])
def test_no_sprite_is_larger_than_the_projector_loads(count: int) -> None:
    assert 1 <= sprite_side(count) * columns_of(count) <= MOST_PIXELS

"""People's own images with the defaults alone: every folder ends in an index to search."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from app.commands.query import QueryOptions, query_photos
from pipeline.data.tables import CATALOG, CLASSES, read_table
from pipeline.data.training_record import read_record
from tests.helpers.whole_dag import QUICK, run_dag

pytestmark = pytest.mark.dag


def paint(path: Path, c: int, number: int) -> None:
    """Write an image of class `c`: shapes of its own colors in changing places."""
    of_class, own = np.random.default_rng(c), np.random.default_rng([c, number])
    image = Image.new("RGB", (64, 48), tuple(own.integers(150, 255, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(3):
        color = tuple(of_class.integers(0, 200, 3).tolist())
        x, y = own.integers(0, 40), own.integers(0, 28)
        size = int(of_class.integers(10, 24))
        draw = pen.ellipse if of_class.random() < 0.5 else pen.rectangle
        draw((int(x), int(y), int(x) + size, int(y) + size), fill=color)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make_folder(root: Path, *, classes: int, each: int) -> Path:
    for c in range(classes):
        for number in range(each):
            paint(root / f"class {c:03}" / f"{number}.png", c, number)
    return root


def read(folder: Path, name: str) -> dict[str, float]:
    loaded: dict[str, float] = json.loads((folder / f"metrics/details/{name}.json").read_text())
    return loaded


def run(tmp_path: Path, source: Path) -> Path:
    own = {"data.name": "folder", "data.source": str(source)}
    return run_dag(tmp_path / "project", own)


def check_searchable(
    folder: Path, photo: Path, *, images: int, caplog: "pytest.LogCaptureFixture"
) -> None:
    with caplog.at_level(logging.INFO):
        options = QueryOptions(model="best", only=(), k=3, crop="center")
        assert query_photos(folder, [photo], options, out=folder / "queries")
    assert f"searching {images} images with the model " in caplog.text
    assert (folder / "plots/report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("classes", "each", "trained"),
    [
        (3, 8, False),
        (10, 12, True),
        pytest.param(2, 2, False, marks=pytest.mark.long),
        *(pytest.param(*size, True, marks=pytest.mark.long) for size in ((10, 30), (200, 3))),
    ],
)
def test_folders_of_all_sizes(
    classes: int, each: int, trained: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_folder(tmp_path / "images", classes=classes, each=each)
    folder = run(tmp_path, source)
    assert read(folder, "train")["epochs"] == (QUICK["train.epochs"] if trained else 0)
    before, after = read(folder, "baseline"), read(folder, "finetuned")
    assert before["queries"] == after["queries"] > 0
    assert (before["map"] == after["map"]) or trained
    record = read_record(folder / "models/finetuned")
    assert record.use in {"baseline", "finetuned"}
    assert trained or record.use == "baseline"
    assert trained or record.because.startswith("nothing was trained: found ")
    photo = next(source.rglob("*.png"))
    check_searchable(folder, photo, images=classes * each, caplog=caplog)


def test_a_folder_without_classes_is_searched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "images"
    for number in range(9):
        paint(source / f"{number}.png", number % 3, number)
    folder = run(tmp_path, source)
    assert (read(folder, "train")["epochs"], read(folder, "finetuned")["queries"]) == (0, 0)
    check_searchable(folder, source / "0.png", images=9, caplog=caplog)


def make_messy(root: Path) -> Path:
    """Make a folder as people have them: 29 images in three classes, and 3 that are none."""
    names = ("cat \N{CAT}", r"$\frac$", "50% <b>_plain_")
    cat, formula, plain = (root / "photos" / name for name in names)
    for c, folder in enumerate((cat, formula, plain)):
        for number in range(8):
            paint(folder / f"{number}.png", c, number)
    (plain / "7.png").rename(plain / r"$\frac$ \N{CAT}.png")
    for copy in ("copy of 0.png", "0 (1).png"):
        shutil.copy(cat / "0.png", cat / copy)
    paint(formula / "8.gif", 1, 8)
    with Image.open(plain / "0.png") as image:
        image.convert("L").save(plain / "gray.png")
        wide = np.asarray(image.convert("L"), np.uint16) * 257
    Image.fromarray(wide).save(plain / "16 bits.PNG")
    (cat / "empty.jpg").touch()
    (formula / "note.jpg").write_text("to do: more photographs")
    (plain / "drawing.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n{} loop\n"
    )
    for place in ("photos/.DS_Store", "__MACOSX/photos/._cat", f"photos/{cat.name}/._0.png"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(b"\0\5\x16\7")
    return root


def test_a_messy_folder_is_searched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = make_messy(tmp_path / "images")
    folder = run(tmp_path, source)
    catalog = read_table(folder / "data/catalog.parquet", CATALOG)
    assert len(catalog) == 29
    names = read_table(folder / "data/classes.parquet", CLASSES)["name"].to_pylist()
    assert names == [r"$\frac$", "50% <b>_plain_", "cat \N{CAT}"]
    rejected = (folder / "data/rejected.csv").read_text().splitlines()[1:]
    assert [line.rpartition(",")[2] for line in rejected] == [
        *("not an image", "not an image", "empty")
    ]
    assert read(folder, "finetuned")["queries"] > 0
    check_searchable(folder, source / r"photos/$\frac$/8.gif", images=29, caplog=caplog)

"""`lookalike duplicates` on packed photographs: what is printed, drawn and written."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from pipeline.data.tables import DUPLICATES, SPLITS, read_table, write_table
from pipeline.datasets.source_image import SourceImage
from pipeline.packing.packing import Outputs, pack
from tests.helpers.dataset_tables import build_splits
from tests.helpers.processes import run_lookalike, run_module

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Photograph:
    """Returns a file of one of the two photographs, or of a copy of it."""

    number: int
    size: tuple[int, int] = (300, 200)
    kind: str = "PNG"

    def __call__(self) -> bytes:
        out = io.BytesIO()
        pixels = load_sample_images().images[self.number]
        Image.fromarray(pixels).resize(self.size).save(out, self.kind)
        return out.getvalue()


IMAGES = {
    "park/1.png": Photograph(0),
    "park/2.bmp": Photograph(0, kind="BMP"),
    "park/3.png": Photograph(0, size=(220, 146)),
    "garden/1.png": Photograph(1),
    "garden/2.jpg": Photograph(1, kind="JPEG"),
    "shop/1.bmp": Photograph(1, kind="BMP"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    (root / "dvc.yaml").touch()
    names = ("images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet")
    to = Outputs(*(root / "data" / name for name in names))
    images = [
        SourceImage(path=path, labels=(path.split("/")[0],), read=read)
        for path, read in IMAGES.items()
    ]
    pack(images, to, max_rejected=0.0)
    splits = dict.fromkeys(sorted(IMAGES), "train") | {"park/3.png": "test"}
    write_table(build_splits(splits), root / "data/splits.parquet", SPLITS)
    return root


def test_groups_across_classes_are_first_and_then_those_across_splits(project: Path) -> None:
    ran = run_module(project, "app.cli", "duplicates")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "exact, across classes",
        "  train   garden  garden/1.png",
        "  train   shop  shop/1.bmp",
        "near, across classes",
        "  train   garden  garden/1.png",
        "  train   garden  garden/2.jpg",
        "  train   shop  shop/1.bmp",
        "near, across splits",
        "  train   park  park/1.png",
        "  train   park  park/2.bmp",
        "  test    park  park/3.png",
        "exact",
        "  train   park  park/1.png",
        "  train   park  park/2.bmp",
        "groups: 2 of exact duplicates, 2 of near duplicates",
    ]
    assert ran.stderr == "duplicates: wrote duplicates/sheet.png, duplicates/duplicates.parquet\n"
    rows = read_table(project / "duplicates/duplicates.parquet", DUPLICATES).to_pylist()
    assert len(rows) == 10
    assert rows[1] == {
        "kind": "exact",
        "group": 1,
        "image_id": "shop/1.bmp",
        "classes": ["shop"],
        "split": "train",
        "across_classes": True,
        "across_splits": False,
    }
    assert rows[-1]["group"] == 4
    with Image.open(project / "duplicates/sheet.png") as sheet:
        assert sheet.width > 8 * 144


def test_exact_duplicates_across_classes_are_proposed_to_be_dropped_once(project: Path) -> None:
    overrides = project / "overrides.csv"
    overrides.write_text("image_id,action,label\nshop/1.bmp,relabel,garden")
    for added in (1, 0):
        ran = run_lookalike(project, "duplicates", "--overrides")
        line = (
            f"added {added} to overrides.csv, all images of such groups; delete the line of each "
            "that is in the right class, and run: dvc repro"
        )
        assert ran.stdout.splitlines()[-1] == line
        assert overrides.read_text() == (
            "image_id,action,label\nshop/1.bmp,relabel,garden\ngarden/1.png,drop,\n"
        )


def test_without_the_table_the_stage_is_named(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    ran = run_lookalike(tmp_path, "duplicates")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("lookalike: data/health.parquet: no such file or folder; ")

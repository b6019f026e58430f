"""The added stage: images without labels, of which there may be none; and their index."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.embeddings import write_embeddings
from pipeline.data.packed_images import PackedImages
from pipeline.data.tables import CATALOG, SPLITS, read_table, write_table
from pipeline.datasets import added as added_images
from pipeline.datasets import parquet_images
from pipeline.errors import UserError
from pipeline.index.build import read_index
from pipeline.packing.packing import AddedOutputs, pack_added
from stages import added, index
from tests.helpers.dataset_tables import build_splits
from tests.helpers.encoded_images import encode
from tests.helpers.paths import ROOT

DATA = Path("data/added")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with params.yaml and added images, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "added", tmp_path / "added", ignore=shutil.ignore_patterns("*.jpg"))


def put(name: str, content: bytes) -> None:
    path = Path("added") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def run(source: Path = Path("added")) -> list[str]:
    """Run the stage and return the image_ids of its catalog."""
    added.main(
        source,
        images=DATA / "images",
        catalog=DATA / "catalog.parquet",
        rejected=DATA / "rejected.csv",
        kept=Path("kept"),
    )
    ids: list[str] = read_table(DATA / "catalog.parquet", CATALOG)["image_id"].to_pylist()
    return ids


def test_a_folder_is_packed_without_labels(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("b.jpg", "deep/a.jpg", ".hidden.jpg"):
        put(name, encode("JPEG"))
    put("camera.dng", b"raw")
    assert run() == ["added/b.jpg", "added/deep/a.jpg"]
    catalog = read_table(DATA / "catalog.parquet", CATALOG)
    assert catalog["labels"].to_pylist() == [[], []]
    images = PackedImages(DATA / "images")
    assert sorted(images.ids) == ["added/b.jpg", "added/deep/a.jpg"]
    assert images.read("added/b.jpg") == encode("JPEG")
    assert [line for line in caplog.messages if "left out" in line] == [
        "left out 1 .dng; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC; convert them"
    ]


def test_there_may_be_none() -> None:
    assert run() == []
    assert len(PackedImages(DATA / "images")) == 0


def test_an_archive_is_packed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("photos/a.jpg", encode("JPEG"))
    assert run(tmp_path / "more.zip") == ["added/photos/a.jpg"]


def write_parquet(path: Path, /, **columns: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)


def test_the_images_of_a_parquet_file_are_packed(tmp_path: Path) -> None:
    """As the Hugging Face Hub writes them, or as plain bytes; alone, or beside files."""
    photos = [encode("JPEG"), encode("PNG"), encode("WEBP")]
    write_parquet(tmp_path / "more.parquet", image=[{"bytes": each, "path": ""} for each in photos])
    assert run(tmp_path / "more.parquet") == [f"added/more.parquet/000000{n}" for n in range(3)]
    write_parquet(tmp_path / "codes.PARQUET", image=pa.array(photos).dictionary_encode())
    assert run(tmp_path / "codes.PARQUET") == [f"added/codes.PARQUET/000000{n}" for n in range(3)]
    put("a.jpg", encode("JPEG"))
    write_parquet(Path("added/b.parquet"), image_id=["x", "y/z", "u"], photo=[*photos[:2], None])
    assert run() == ["added/a.jpg", "added/b.parquet/x", "added/b.parquet/y/z"]
    assert PackedImages(DATA / "images").read("added/b.parquet/y/z") == photos[1]
    assert (DATA / "rejected.csv").read_text() == (
        "path,reason\nadded/b.parquet/u,cannot be read (column photo holds no bytes of an image)\n"
    )


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            {"a": [b"1"], "b": [b"2"], "c": ["3"]},
            "found several columns of bytes: a, b; allowed: one, or one named image; rename that "
            "of encoded images",
        ),
        (
            {"image": [b"1"], "image_id": [b"1"]},
            "column image_id: found binary; allowed: texts or whole numbers; write it as one of "
            "these, or drop the column",
        ),
        (
            {"image": [b"1", b"2", b"3", b"4"], "image_id": ["1", "2", "3", None]},
            "row 4, column image_id: found nothing; allowed: a name for each image; "
            "name it, or drop the column",
        ),
        (
            {"image": [b"1", b"2", b"3"], "image_id": ["1", "2", "1"]},
            "row 3, column image_id: found '1', as in row 1; allowed: a name of its own for each "
            "image; rename one, or drop the column",
        ),
    ],
)
def test_a_parquet_file_without_images_is_an_error(columns: dict[str, Any], line: str) -> None:
    write_parquet(Path("added/b.parquet"), **columns)
    with pytest.raises(UserError) as caught:
        run()
    assert str(caught.value) == f"added/b.parquet: {line}"


def test_a_table_beside_the_images_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    put("a.jpg", encode("JPEG"))
    write_parquet(Path("added/labels.parquet"), path=["a.jpg"], image_id=[b"1"])
    assert run() == ["added/a.jpg"]
    assert "left out added/labels.parquet: it has no column of encoded images" in caplog.messages


def test_a_large_group_of_rows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_images, "MOST_BYTES", 2**20)
    image = [{"bytes": bytes(2**20), "path": ""}]
    write_parquet(Path("added/b.parquet"), number=[1], image=image)
    with pytest.raises(UserError) as caught:
        run()
    assert str(caught.value) == (
        "added/b.parquet: row group 1: found 1 MiB of images; allowed: 1 MiB; write it with fewer "
        "rows in each group, such as row_group_size=1000"
    )


def test_each_group_of_rows_is_read_once_whatever_its_images_are_called(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(100).tolist()
    table = pa.table({"image": [encode("PNG")] * 100, "image_id": order})
    pq.write_table(table, tmp_path / "many.parquet", row_group_size=10)
    images = list(added_images.read_added(tmp_path / "many.parquet"))
    parquet_images._read_column.cache_clear()
    outputs = AddedOutputs(tmp_path / "i", tmp_path / "c.parquet", tmp_path / "r.csv")
    pack_added(images, outputs)
    assert parquet_images._read_column.cache_info().misses == 10
    ids = read_table(tmp_path / "c.parquet", CATALOG)["image_id"].to_pylist()
    assert ids == sorted(f"added/many.parquet/{each}" for each in order)


def test_a_link_to_a_parquet_file_is_followed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "real/.h.parquet", image=[encode("PNG")])
    (tmp_path / "link.parquet").symlink_to("real/.h.parquet")
    assert run(Path("link.parquet")) == ["added/link.parquet/0000000"]
    assert run(tmp_path / "real/.h.parquet") == ["added/.h.parquet/0000000"]


def test_what_cannot_be_decoded_is_left_out_and_never_stops_the_stage() -> None:
    put("a.jpg", encode("JPEG"))
    put("b.jpg", encode("JPEG"))
    put("c.jpg", b"text")
    assert run() == ["added/a.jpg", "added/b.jpg"]
    assert (DATA / "rejected.csv").read_text() == "path,reason\nadded/c.jpg,not an image\n"
    for name in ("a.jpg", "b.jpg"):
        put(name, b"")
    assert run() == []
    with pytest.raises(UserError) as caught:
        run(Path("none"))
    assert str(caught.value) == (
        "none: no such folder or archive; allowed: a folder, .tar, .tar.gz, .tar.bz2, .tar.xz, "
        ".zip, .parquet; set added.source"
    )


def run_index(labelled: list[str], others: list[str]) -> None:
    vectors = np.random.default_rng(0).normal(size=(len(labelled + others), 4)).astype(np.float32)
    write_embeddings(Path("embeddings"), labelled, vectors[: len(labelled)])
    write_embeddings(Path("embeddings-added"), others, vectors[len(labelled) :])
    write_table(build_splits(dict.fromkeys(labelled, "test")), Path("splits"), SPLITS)
    index.main(
        Path("embeddings"),
        added=Path("embeddings-added"),
        splits=Path("splits"),
        catalog=Path("unused"),
        out=Path("index"),
        added_out=Path("index-added"),
    )


def test_the_added_images_have_an_index_of_their_own() -> None:
    run_index(["a", "b"], ["added/c"])
    assert sorted(read_index(Path("index"))[1]) == ["a", "b"]
    assert read_index(Path("index-added"))[1] == ["added/c"]
    run_index(["a", "b"], [])
    found, ids = read_index(Path("index-added"))
    assert (found.ntotal, found.d, ids) == (0, 4, [])


def test_an_added_image_with_the_id_of_another_is_an_error() -> None:
    with pytest.raises(UserError) as caught:
        run_index(["added/c", "added/d", "b"], ["added/d", "added/c", "added/e"])
    assert str(caught.value) == (
        "embeddings-added: 2 image_ids are those of images with labels, the first is 'added/c'; "
        "allowed: others; rename the folder in added.source"
    )

"""The download and split stages as DVC runs them: files in, files out, one line for a mistake."""

import functools
import os
import subprocess
import sys
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image
from ruamel.yaml import YAML

from pipeline.data.packed_images import PackedImages
from pipeline.data.tables import CATALOG, CLASSES, SPLITS, read_table
from pipeline.workers import Workers
from stages.download import main
from tests.helpers.encoded_images import encode
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_stage

pytestmark = pytest.mark.slow

TINY_COCO = ROOT.parent / "shared/datasets/tiny_coco.tar"
OUTPUTS = {"images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet"}


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def make_project(folder: Path, **split_params: object) -> Path:
    """Return `folder` with params and 8 classes of 6 images, in git-ignored images/."""
    write_params(folder, **split_params)
    (folder / "images").mkdir()
    (folder / "images/README.md").touch()
    for seed in range(48):
        write_image(folder / f"images/class{seed % 8}/{seed}.png", seed)
    return folder


def write_params(
    folder: Path, *, data: str = "folder", options: dict[str, object] | None = None, **split: object
) -> None:
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    params["data"]["name"] = data
    params["data"][data] |= options or {}
    params["split"] |= split
    if data == "coco":
        params["loss"]["name"] = "supcon"  # its images have several labels
    with open(folder / "params.yaml", "w") as out:
        YAML().dump(params, out)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose images are packed, one class with a single image among them."""
    folder = make_project(tmp_path_factory.mktemp("packed"))
    write_image(folder / "images/lone/1.png", 99)
    done = download(folder, "images")
    assert done.returncode == 0, done.stderr
    return folder


def run(
    stage: str, folder: Path, *options: str, root: Path | None = None
) -> subprocess.CompletedProcess[str]:
    with patch.dict(os.environ, {} if root is None else {"DVC_ROOT": str(root)}):
        return run_stage(folder, stage, *options)


def download(
    folder: Path, source: str, *, root: Path | None = None
) -> subprocess.CompletedProcess[str]:
    paths = ["--images", "data/images", "--catalog", "data/catalog.parquet"]
    paths += ["--classes", "data/classes.parquet", "--rejected", "data/rejected.csv"]
    paths += ["--health", "data/health.parquet", "--kept", "kept"]
    overrides = folder / "overrides.csv"
    if not overrides.exists():
        overrides.write_text("image_id,action,label\n")
    paths += ["--overrides", "overrides.csv"]
    return run("download", folder, "--source", source, *paths, root=root)


def split(packed: Path, folder: Path, **params: object) -> subprocess.CompletedProcess[str]:
    write_params(folder, **params)
    tables = [
        option
        for name in ("catalog", "classes", "health")
        for option in (f"--{name}", str(packed / f"data/{name}.parquet"))
    ]
    return run("split", folder, *tables, "--out", "splits.parquet")


def test_a_folder_is_packed(packed: Path) -> None:
    assert {path.name for path in (packed / "data").iterdir()} == OUTPUTS
    assert len(read_table(packed / "data/catalog.parquet", CATALOG)) == 49
    assert read_table(packed / "data/classes.parquet", CLASSES)["name"].to_pylist() == [
        *(f"class{label}" for label in range(8)),
        "lone",
    ]


def test_images_of_any_suffix_are_packed_and_what_is_not_is_told(tmp_path: Path) -> None:
    """An EPS by the name of an image is a program: given to Ghostscript, this one never ends."""
    write_params(tmp_path)
    params = YAML(typ="safe").load((tmp_path / "params.yaml").read_text())
    params["download"]["max_rejected"] = 0.5
    YAML().dump(params, tmp_path / "params.yaml")
    loop = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n{} loop\n"
    files = {
        "ant/0.jfif": encode("JPEG"),
        "ant/1": encode("PNG"),
        "ant/2.jpg": encode("AVIF"),
        "ant/3.HIF": encode("HEIF"),
        "ant/4.tif": encode("TIFF"),
        "bee/0.jpg": loop,
        "bee/1.png": encode("PNG")[:-200],
        "cat/0.psd": b"8BPS",
    }
    for name, content in files.items():
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(content)
    done = download(tmp_path, "images")
    assert done.stderr.splitlines()[:4] == [
        "download: found no images in the folders cat",
        "download: left out 2 images (1 damaged, 1 not an image), listed in data/rejected.csv",
        "download: no image can be decoded of the classes bee",
        "download: left out 1 .psd; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC; "
        "convert them",
    ]
    catalog = read_table(tmp_path / "data/catalog.parquet", CATALOG)
    assert catalog["path"].to_pylist() == [name for name in files if name.startswith("ant")]


def test_what_is_corrected_by_hand_is_corrected_before_the_split(project: Path) -> None:
    """And the log tells what the pixels tell."""
    write_image(project / "images/class1/copy.png", 0)  # of class0
    done = download(project, "images")
    assert (
        "download: exact duplicates across classes: 1 group of 2 images, first 'class0/0.png', "
        "'class1/copy.png'\n" in done.stderr
    )
    (project / "overrides.csv").write_text(
        "image_id,action,label\nclass1/copy.png,relabel,class0\nclass0/8.png,drop,\n"
    )
    done = download(project, "images")
    assert "across classes" not in done.stderr
    rows = read_table(project / "data/catalog.parquet", CATALOG).to_pylist()
    labels = {row["image_id"]: row["labels"] for row in rows}
    assert labels["class1/copy.png"] == [0]
    assert "class0/8.png" not in labels


def test_an_archive_gives_what_its_folder_gives(project: Path) -> None:
    with tarfile.open(project / "p.tar.gz", "w:gz") as tar:
        tar.add(project / "images", "images")
    download(project, "images")
    expected = {path: path.read_bytes() for path in (project / "data").rglob("*.*")}
    assert download(project, "p.tar.gz").returncode == 0
    assert {path: path.read_bytes() for path in (project / "data").rglob("*.*")} == expected
    assert list((project / "downloads").iterdir()) == []


@pytest.fixture
def copy(project: Path) -> Path:
    """The folder that `dvc exp run --temp` works in: what git ignores is not there."""
    copy = project / ".dvc/tmp/exps/1"
    (copy / "images").mkdir(parents=True)
    (copy / "images/README.md").touch()
    (copy / "params.yaml").write_bytes((project / "params.yaml").read_bytes())
    return copy


def test_an_experiment_in_a_copy_reads_only_the_copys_images(project: Path, copy: Path) -> None:
    write_image(copy / "images/cat/1.png", 1)
    packed = download(copy, "images", root=project)
    assert packed.returncode == 0, packed.stderr
    assert len(read_table(copy / "data/catalog.parquet", CATALOG)) == 1


def test_an_experiment_in_a_copy_without_images_gets_a_line_that_says_what_to_do(
    project: Path, copy: Path
) -> None:
    failed = download(copy, "images", root=project)
    assert failed.returncode == 2
    (line,) = failed.stderr.splitlines()
    assert line.startswith("download: images: found no images; allowed: ")
    assert line.endswith(
        "; a queued experiment sees only what is in git or DVC, so set data.source to an absolute "
        "path"
    )
    packed = download(copy, str(project / "images"), root=project)
    assert packed.returncode == 0, packed.stderr


def test_products_need_no_images_in_a_copy(project: Path, copy: Path) -> None:
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    params["data"] |= {
        "name": "products",
        "products": {"classes": 2, "per_class": 2, "image_size": 16},
    }
    with open(copy / "params.yaml", "w") as out:
        YAML().dump(params, out)
    packed = download(copy, "images", root=project)
    assert packed.returncode == 0, packed.stderr
    assert len(read_table(copy / "data/catalog.parquet", CATALOG)) == 4


def test_loose_images_beside_one_stray_folder_stop_before_packing(tmp_path: Path) -> None:
    write_params(tmp_path)
    for name in ("0.png", "1.png", "old/2.png"):
        write_image(tmp_path / "images" / name, 1)
    failed = download(tmp_path, "images")
    assert failed.returncode == 2
    assert failed.stderr.splitlines() == [
        "download: images: found 2 images in no class folder ('0.png' is the first) and 1 in class "
        "folders (old); allowed: fewer in none, which are left out; move them into class folders, "
        "or set data.source to a folder of images without subfolders"
    ]
    assert not (tmp_path / "data/catalog.parquet").exists()


def test_images_in_formats_that_are_not_read_are_one_line(project: Path) -> None:
    for name in ("1.psd", "2.PSD", "3.dng"):
        (project / "images/class0" / name).touch()
    done = download(project, "images")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == (
        "download: left out 1 .dng, 2 .psd; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC; "
        "convert them"
    )


@pytest.mark.skipif(not TINY_COCO.is_file(), reason="shared/datasets/tiny_coco.tar is not there")
@pytest.mark.parametrize("images", [True, False])
def test_coco_is_packed_with_its_images_or_without(tmp_path: Path, images: bool) -> None:
    write_params(tmp_path, data="coco", options={"images": images})
    done = download(tmp_path, str(TINY_COCO))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "download: left out 3 images without a label"
    catalog = read_table(tmp_path / "data/catalog.parquet", CATALOG)
    assert len(catalog) == 97
    # The annotations give the sizes that the images themselves have.
    row = {row["path"]: row for row in catalog.to_pylist()}["train2017/000000391895.jpg"]
    assert (row["width"], row["height"], row["group"]) == (640, 360, "person")
    assert len(PackedImages(tmp_path / "data/images")) == (97 if images else 0)
    done = split(tmp_path, tmp_path, data="coco")
    assert done.returncode == 0, done.stderr
    splits = read_table(tmp_path / "splits.parquet", SPLITS)
    assert sum(splits["is_query"].to_pylist()) == 48


def test_the_archives_of_a_dataset_are_fetched_in_place_of_the_source(tmp_path: Path) -> None:
    for place in ("train/coast/1.png", "train/coast/2.png", "test/coast/3.png"):
        write_image(tmp_path / "MIT_split" / place, 1)
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served/p.tar", "w") as tar:
        tar.add(tmp_path / "MIT_split", "MIT_split")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/p.tar"
        write_params(tmp_path, data="mit_split", options={"url": url})
        done = download(tmp_path, "unused")
        assert done.returncode == 0, done.stderr
        write_params(tmp_path, data="mit_split", options={"url": url, "sha256": "0" * 64})
        failed = download(tmp_path, "unused")
        server.shutdown()
    assert len(read_table(tmp_path / "data/catalog.parquet", CATALOG)) == 3
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith(f"download: {url}: the sha256 is ")


def test_every_cpu_prepares_images(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[Workers] = []
    monkeypatch.setattr("stages.download.pack", lambda *_, workers, **__: passed.append(workers))
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    monkeypatch.chdir(project)
    monkeypatch.setattr("stages.download.read_table", lambda *_: None)
    monkeypatch.setattr("stages.download.find_in_images", lambda *_: [])
    main(Path("images"), ROOT / "overrides.csv", *[Path("unused")] * 6)
    [workers] = passed
    assert workers.executor._max_workers == 7  # type: ignore[union-attr]


def test_too_many_truncated_images_are_one_line(project: Path) -> None:
    for name in (f"class{label}/{label}.png" for label in range(6)):
        path = project / "images" / name
        path.write_bytes(path.read_bytes()[:500])
    failed = download(project, "images")
    assert failed.returncode == 2
    (line,) = failed.stderr.splitlines()
    assert line.startswith(
        "download: 6 of 48 images (12.5%) cannot be decoded (6 damaged); allowed: 5 "
        "(download.max_rejected: 1.0%); repair or remove them: class0/0.png: "
    )
    assert not any((project / "data").iterdir())


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            "gone",
            "download: gone: no such folder or archive; allowed: a folder, .tar, .tar.gz, .tar.bz2,"
            " .tar.xz, .zip; set data.source",
        ),
        (
            "empty",
            "download: empty: found no images; allowed: <class>/*.jpg, or train/<class>/*.jpg "
            "and test/<class>/*.jpg, or a table (data.folder.table), of JPEG, PNG, WebP, BMP, GIF, "
            "TIFF, AVIF, HEIC; put some there (see images/README.md)",
        ),
        (
            "evil.tar",
            "download: evil.tar: member '../evil.png' has '..' in its path; allowed: files and "
            "folders inside the archive; make a new archive without it",
        ),
    ],
)
def test_a_bad_source_is_one_line_and_nothing_written(
    project: Path, source: str, line: str
) -> None:
    (project / "empty").mkdir()
    with tarfile.open(project / "evil.tar", "w") as tar:
        tar.add(project / "params.yaml", "../evil.png", filter=None)
        tar.addfile(tarfile.TarInfo("../evil.png"))
    failed = download(project, source)
    assert (failed.returncode, failed.stderr) == (2, line + "\n")
    assert not (project / "data").exists()
    assert not (project / "evil.png").exists()


def test_a_split_is_written_and_what_it_leaves_without_use_reported(
    packed: Path, tmp_path: Path
) -> None:
    done = split(packed, tmp_path, protocol="random", val_by="class", val_fraction=0.5)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == (
        "split: classes with one image, which has no match: 1 ('lone/1.png')"
    )
    splits = read_table(tmp_path / "splits.parquet", SPLITS)
    counts = {row["values"]: row["counts"] for row in pc.value_counts(splits["split"]).to_pylist()}
    # Half of each of 8 classes of 6 is for testing; 4 of the 9 classes validate.
    assert counts["test"] == 24
    assert counts["val"] in (3 + 3 + 3 + 3, 3 + 3 + 3 + 1, 5 * 3 - 2)


def test_a_split_that_fits_nothing_is_one_line(packed: Path, tmp_path: Path) -> None:
    failed = split(packed, tmp_path, protocol="official")
    assert failed.returncode == 2
    assert failed.stderr == (
        "split: split.protocol: found official, but this dataset has no official split; allowed "
        "for it: auto, class_disjoint, random, test_only\n"
    )
    assert not (tmp_path / "splits.parquet").exists()


@pytest.mark.parametrize("stage", ["download", "split"])
def test_a_stage_imports_nothing_heavy(stage: str) -> None:
    code = f"import sys, stages.{stage}; print({{'torch', 'faiss', 'pandas'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"

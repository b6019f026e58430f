"""The published datasets, small and in their official layouts: download, split, index, evaluate."""

import functools
import hashlib
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

import stages.download
import stages.evaluate
import stages.index
import stages.split
from pipeline.data.embeddings import write_embeddings
from pipeline.data.packed_images import PackedImages
from pipeline.data.tables import CATALOG, read_table
from pipeline.datasets import DATASETS
from pipeline.datasets.counts import SplitCounts
from pipeline.datasets.published import if_official
from pipeline.errors import UserError
from tests.helpers.options import dataset_options
from tests.helpers.overlay import overlaid
from tests.helpers.paths import ROOT
from tests.helpers.pools import pools_here
from tests.helpers.published import COUNTS, MAKE, make_huggingface, serve_from

NAMES = [pytest.param(name, id=name) for name in MAKE]
# There are fewer images than the default looks at, and some of them are to validate.
FEW = {"evaluate__k": [1], "evaluate__knn": [1], "split__val_fraction": 0.5}
# The training images are the gallery of test, so also of validation.
AMONG_TRAINING = ("cifar10", "fashion_mnist")
FETCHED = ("sop", "cub", "cars196", "cifar10", "fashion_mnist")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to run stages in; the numbers of the small datasets count as the official ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    for name, counts in COUNTS.items():
        change_dataset(monkeypatch, name, counts=counts)
    with pools_here():
        yield tmp_path


def change_dataset(monkeypatch: pytest.MonkeyPatch, name: str, **fields: Any) -> None:
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], **fields))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the folder served/."""
    served = tmp_path / "served"
    served.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Handler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def download(name: str, source: Path | str = "unused", **options: Any) -> list[dict[str, Any]]:
    """Run the stage on dataset `name` and return the rows of the catalog."""
    changes = {f"data__{name}__{key}": value for key, value in options.items()}
    changes["split__val_by"] = "image" if name in AMONG_TRAINING else "class"
    with open("params.yaml", "w") as out:
        YAML().dump(overlaid(FEW | {"data__name": name} | changes), out)
    data = Path("data")
    stages.download.main(
        Path(source),
        ROOT / "overrides.csv",
        images=data / "images",
        catalog=data / "catalog.parquet",
        classes=data / "classes.parquet",
        rejected=data / "rejected.csv",
        health=data / "health.parquet",
        kept=Path("kept"),
    )
    assert (data / "rejected.csv").read_text() == "path,reason\n"
    return read_table(data / "catalog.parquet", CATALOG).to_pylist()


def error_line(name: str, source: Path | str = "unused", **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        download(name, source, **options)
    (line,) = str(caught.value).splitlines()
    return line


def evaluate(catalog: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the metrics where each image's embedding is nearest to those of its class."""
    catalog_path = Path("data/catalog.parquet")
    classes, health = Path("data/classes.parquet"), Path("data/health.parquet")
    stages.split.main(catalog_path, classes, health, out=Path("splits.parquet"))
    ids = [row["image_id"] for row in catalog]
    labels = [row["labels"][0] for row in catalog]
    noise = np.random.default_rng(0).normal(0, 0.1, (len(ids), 8))
    vectors = (np.eye(8)[labels] + noise).astype(np.float32)
    write_embeddings(Path("embeddings"), ids, vectors)
    write_embeddings(Path("none"), [], vectors[:0])
    inputs = {"embeddings": Path("embeddings"), "splits": Path("splits.parquet")}
    stages.index.main(
        **inputs,
        added=Path("none"),
        catalog=catalog_path,
        out=Path("index"),
        added_out=Path("index-added"),
    )
    stages.evaluate.main(
        "m",
        **inputs,
        catalog=catalog_path,
        images=Path("data/images"),
        index=Path("index"),
        metrics=Path("m.json"),
        headline=Path("headline.json"),
        results=Path("results"),
    )
    metrics: dict[str, Any] = json.loads(Path("m.json").read_text())
    return metrics


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_official_archive_goes_through_to_the_metrics(project: Path, name: str) -> None:
    MAKE[name](project / "made")
    with tarfile.open(project / "a.tar", "w") as tar:
        tar.add(project / "made", ".")
    packed = download(name, "a.tar")
    assert download(name, "made") == packed
    metrics = evaluate(packed)
    parts = COUNTS.get(name, {"train": SplitCounts(4, 2), "query+gallery": SplitCounts(4, 2)})
    queries = sum(part.images for roles, part in parts.items() if "query" in roles)
    gallery = sum(part.images for roles, part in parts.items() if "gallery" in roles)
    assert metrics["queries"] == queries
    # Part of the training images that are in the gallery too is held out for validation.
    assert metrics["gallery"] <= gallery
    assert metrics["queries_without_positives"] == 0
    assert metrics["recall_at_1"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FETCHED)
def test_official_files_are_fetched_and_a_changed_checksum_is_an_error(
    project: Path, server: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    MAKE[name](project / "made")
    expected = download(name, "made")
    serve_from(project / "served", name, project / "made")
    urls, serve = _serve_official(name, server, monkeypatch)
    serve(urls)
    first, wanted = next(iter(urls.items()))
    found = _md5(project / "served", first)
    assert error_line(name, official=True) == (
        f"{first}: the md5 is {found}; allowed: {wanted.removeprefix('md5:')}; correct the URL "
        "or the checksum"
    )
    serve({url: f"md5:{_md5(project / 'served', url)}" for url in urls})
    assert download(name, official=True) == expected


Urls = dict[str, str]


def _serve_official(
    name: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Urls, Callable[[Urls], None]]:
    """Return {URL at `server`: official checksum}, and a function that makes such a mapping the
    downloads of the dataset."""

    def moved(url: str) -> str:
        return f"{server}/{url.rsplit('/', 1)[-1]}"

    official = dataset_options(name, official=True)
    archives, files = DATASETS[name].archives(official), DATASETS[name].files(official)

    def serve(urls: Urls) -> None:
        at_server = {moved(url): urls[moved(url)] for url in archives}
        named = {file: (moved(url), urls[moved(url)]) for file, (url, _) in files.items()}
        change_dataset(monkeypatch, name, archives=if_official(at_server), files=if_official(named))

    return {moved(url): str(md5) for url, md5 in [*archives.items(), *files.values()]}, serve


def _md5(folder: Path, url: str) -> str:
    content = (folder / url.rsplit("/", 1)[-1]).read_bytes()
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("name", FETCHED)
def test_nothing_is_fetched_without_the_option_official(name: str) -> None:
    options = dataset_options(name, official=False)
    assert DATASETS[name].archives(options) == {}
    assert DATASETS[name].files(options) == {}
    assert DATASETS[name].reads_source(options)
    assert not DATASETS[name].reads_source(dataset_options(name, official=True))


@pytest.mark.parametrize("name", COUNTS)
def test_wrong_numbers_are_one_line(
    project: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    MAKE[name](project / "made")
    roles, part = min(COUNTS[name].items())
    wanted = part._replace(images=12_345)
    change_dataset(monkeypatch, name, counts=COUNTS[name] | {roles: wanted})
    groups = f" in {part.groups} groups" if part.groups else ""
    assert error_line(name, "made") == (
        f"made: found {part.images} images of {part.classes} classes{groups} for {roles}; "
        f"allowed: 12,345 images of {part.classes} classes{groups}, as published; get a whole "
        "copy, or read a part of it with data.name folder"
    )
    assert not Path("data").exists()


MISSING = {
    "sop": (
        "Ebay_train.txt",
        "sop: the folder Stanford_Online_Products or its .zip; set data.source to it, or "
        "data.sop.official: true to fetch it",
    ),
    "cub": (
        "images.txt",
        "cub: the folder CUB_200_2011 or its .tgz; set data.source to it, or data.cub.official: "
        "true to fetch it",
    ),
    "cars196": (
        "cars_annos.mat",
        "cars196: a folder or an archive with cars_annos.mat and car_ims/; set data.source to it, "
        "or data.cars196.official: true to fetch it",
    ),
    "inshop": (
        "list_bbox_inshop.txt",
        "inshop: list_eval_partition.txt, img/ of img.zip and, with data.inshop.boxes, "
        "list_bbox_inshop.txt; set data.source",
    ),
    "cifar10": (
        "test_batch.bin",
        "cifar10: the folder cifar-10-batches-bin or cifar-10-binary.tar.gz; set data.source to "
        "it, or data.cifar10.official: true to fetch it",
    ),
    "fashion_mnist": (
        "t10k-images-idx3-ubyte.gz",
        "fashion_mnist: the official train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
        "t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz; set data.source to their folder, "
        "or data.fashion_mnist.official: true to fetch them",
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_file_is_one_line(project: Path, name: str) -> None:
    MAKE[name](project / "made")
    file, otherwise = MISSING[name]
    (path,) = (project / "made").rglob(file)
    path.unlink()
    line = error_line(name, "made")
    assert line.startswith("made")
    assert line.partition(": ")[2] == f"found no {file}; allowed for data.name {otherwise}"


@pytest.mark.parametrize("name", ["sop", "cub", "cars196", "inshop"])
def test_a_missing_image_is_one_line(project: Path, name: str) -> None:
    MAKE[name](project / "made")
    path = min((project / "made").rglob("*.[jJ][pP][gG]"))
    path.unlink()
    line = error_line(name, "made")
    assert "lists '" in line
    assert f"{path.name}', but there is no such file in made" in line
    assert line.endswith("; allowed: all files of the list; get a whole copy of the dataset")


def test_a_subset_is_sampled_after_the_numbers_are_checked(project: Path) -> None:
    MAKE["sop"](project / "made")
    rows = download("sop", "made", max_images=3)
    assert [row["source_split"] for row in rows].count("train") == 3
    assert len(rows) == 6
    assert len({row["labels"][0] for row in rows}) == 2


@pytest.fixture
def hub(project: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what the Hub has of the dataset me/pets, with its list of files."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server)
    template = server + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    root = project / "served/datasets/me/pets/resolve/v1"
    make_huggingface(root)
    entries = []
    for path in sorted(root.rglob("*.parquet")):
        content = path.read_bytes()
        large = {"oid": hashlib.sha256(content).hexdigest(), "size": 1, "pointerSize": 1}
        name = path.relative_to(root).as_posix()
        entries.append({"type": "file", "path": name, "size": 1, "oid": "0", "lfs": large})
    entries.append({"type": "file", "path": "pets.py", "size": 1, "oid": "0"})
    listing = project / "served/api/datasets/me/pets/tree"
    listing.mkdir(parents=True)
    (listing / "v1").write_text(json.dumps(entries))
    return root


@pytest.mark.usefixtures("hub")
def test_a_dataset_of_the_hub_is_fetched_by_its_parquet_files(project: Path) -> None:
    make_huggingface(project / "made")
    assert download("huggingface", path="me/pets", revision="v1") == download("huggingface", "made")


def test_a_file_of_the_hub_that_changed_is_an_error(hub: Path) -> None:
    path = hub / "default/test/0000.parquet"
    wanted = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"PAR1\0")
    line = error_line("huggingface", path="me/pets", revision="v1")
    assert (
        f": the sha256 is {hashlib.sha256(path.read_bytes()).hexdigest()}; allowed: {wanted}; "
        in line
    )


@pytest.mark.usefixtures("hub")
def test_a_dataset_that_the_hub_does_not_have_is_an_error() -> None:
    line = error_line("huggingface", path="me/dogs", revision="v1")
    assert line.startswith("data.huggingface: the Hub does not list 'me/dogs' at v1 (")
    assert line.endswith(
        "); correct data.huggingface.path or .revision, or set path: null and data.source to a "
        "folder of its Parquet files"
    )


def test_images_of_the_hub_are_those_of_their_rows(project: Path) -> None:
    make_huggingface(project / "made")
    rows = download("huggingface", "made")
    assert [row["path"] for row in rows[:2]] == [
        "default/test/0000/0000000",
        "default/test/0000/0000001",
    ]
    stored = pq.read_table("made/default/test/0000.parquet")["image"].to_pylist()
    packed = PackedImages(Path("data/images"))
    assert [packed.read(row["image_id"]) for row in rows[:4]] == [cell["bytes"] for cell in stored]

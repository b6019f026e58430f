"""Each published dataset: its protocol, and one line for what is not of its form."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pipeline.datasets import DATASETS
from pipeline.datasets.counts import count_splits
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from tests.helpers.options import dataset_options
from tests.helpers.published import COUNTS, MAKE, idx, pixels


def read(name: str, root: Path, **options: Any) -> list[SourceImage]:
    return list(DATASETS[name].read_images(root, dataset_options(name, **options), 0))


def error_line(name: str, root: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(name, root, **options)
    (line,) = str(caught.value).splitlines()
    return line


def decoded(image: SourceImage) -> Any:
    assert image.read is not None
    return np.asarray(Image.open(io.BytesIO(image.read())))


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("below", [".", "a"])
def test_the_parts_are_found_in_the_archive_or_below(tmp_path: Path, name: str, below: str) -> None:
    MAKE[name](tmp_path / below)
    assert count_splits(read(name, tmp_path)) == COUNTS[name]


def test_the_official_numbers_are_those_of_the_papers() -> None:
    parts = {name: DATASETS[name].counts or {} for name in COUNTS}
    images = {name: [part.images for part in of.values()] for name, of in parts.items()}
    assert images == {
        "sop": [59_551, 60_502],
        "cub": [5_864, 5_924],
        "cars196": [8_054, 8_131],
        "inshop": [25_882, 14_218, 12_612],
        "cifar10": [50_000, 10_000],
        "fashion_mnist": [60_000, 10_000],
    }
    totals = {name: sum(numbers) for name, numbers in images.items()}
    assert (totals["sop"], totals["cub"], totals["cars196"]) == (120_053, 11_788, 16_185)
    assert totals["inshop"] == 52_712


def test_products_of_ebay_have_their_kind_as_group(tmp_path: Path) -> None:
    MAKE["sop"](tmp_path)
    first, *_, last = read("sop", tmp_path)
    assert (first.path, first.labels, first.group) == (
        "coffee_maker_final/1_0.JPG",
        ("coffee_maker 1",),
        "coffee_maker",
    )
    assert (last.labels, last.source_split) == (("coffee_maker 11321",), "query+gallery")


@pytest.mark.parametrize("name", ["cub", "cars196"])
def test_the_classes_of_the_test_are_never_trained_on(tmp_path: Path, name: str) -> None:
    MAKE[name](tmp_path)
    roles: dict[str, set[str | None]] = {}
    for image in read(name, tmp_path):
        roles.setdefault(image.labels[0], set()).add(image.source_split)
    last = {"cub": 100, "cars196": 98}[name]
    assert roles == {
        label: {"train" if int(label[:3]) <= last else "query+gallery"} for label in roles
    }
    assert len(roles) == 4


@pytest.mark.parametrize("boxes", [True, False])
def test_clothes_have_a_box_with_the_option_boxes(tmp_path: Path, boxes: bool) -> None:
    MAKE["inshop"](tmp_path)
    image = read("inshop", tmp_path, boxes=boxes)[-3]
    assert image == SourceImage(
        path="img/WOMEN/Dresses/id_00000004/00_1_front.jpg",
        labels=("id_00000004",),
        read=image.read,
        group="WOMEN/Dresses",
        source_split="query",
        box=(2, 1, 10, 12) if boxes else None,
    )


def test_clothes_without_boxes_need_no_list_of_them(tmp_path: Path) -> None:
    MAKE["inshop"](tmp_path)
    (path,) = tmp_path.rglob("list_bbox_inshop.txt")
    path.unlink()
    assert len(read("inshop", tmp_path, boxes=False)) == 12


def test_a_record_of_cifar_is_its_image(tmp_path: Path) -> None:
    MAKE["cifar10"](tmp_path)
    image = read("cifar10", tmp_path)[5]
    assert (image.path, image.labels) == ("data_batch_2/00001.png", ("automobile",))
    np.testing.assert_array_equal(decoded(image), pixels(5, 32))


def test_an_image_of_fashion_mnist_is_its_own(tmp_path: Path) -> None:
    MAKE["fashion_mnist"](tmp_path)
    image = read("fashion_mnist", tmp_path)[1]
    assert (image.path, image.labels) == ("train/00001.png", ("Ankle boot",))
    images = np.random.default_rng(8).integers(0, 256, (8, 28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(image), images[1])


def _replace(file: str, before: str, after: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (path,) = root.rglob(file)
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))

    return change


def _write(file: str, content: bytes) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (path,) = root.rglob(file)
        path.write_bytes(content)

    return change


def _save_mat(root: Path) -> None:
    savemat(root / "cars_annos.mat", {"annotations": 1})


def _remove(file: str) -> Callable[[Path], None]:
    return lambda root: next(root.rglob(file)).unlink()


MISTAKES = {
    "a row cut off": (
        "sop",
        _replace("Ebay_test.txt", "8 11319 2 ", "8 "),
        "Stanford_Online_Products/Ebay_test.txt: line 3: found '8 coffee_maker_final/11319_1.JPG'; "
        "allowed: image_id class_id super_class_id path; get a whole copy of it",
    ),
    "a list missing": (
        "sop",
        _remove("Ebay_test.txt"),
        "Stanford_Online_Products/Ebay_test.txt: no such file; get a whole copy of the dataset",
    ),
    "not a text": (
        "cub",
        _write("images.txt", b"1 \xff\xfe"),
        "CUB_200_2011/images.txt: not a text in UTF-8; get a whole copy of it",
    ),
    "an image without a class": (
        "cub",
        _replace("image_class_labels.txt", "3 99\n", ""),
        "CUB_200_2011/images.txt: line 3: image 3 has no class in image_class_labels.txt; get a "
        "whole copy of it",
    ),
    "a class that is no number": (
        "cub",
        _replace("image_class_labels.txt", "3 99\n", "3 bird\n"),
        "CUB_200_2011/image_class_labels.txt: image 3: found 'bird'; allowed: a whole number; get "
        "a whole copy of it",
    ),
    "a path that leads out": (
        "cub",
        _replace("images.txt", "099.Bird_99/Bird_99_0.jpg", "../images.txt"),
        "CUB_200_2011/images.txt: line 1: lists '../images.txt', but there is no such file in "
        "{root}CUB_200_2011/images; allowed: all files of the list; get a whole copy of the "
        "dataset",
    ),
    "annotations of another form": (
        "cars196",
        _save_mat,
        "cars_annos.mat: not annotations as Cars196 has them ('class_names'); get a whole copy of "
        "it",
    ),
    "a role unknown": (
        "inshop",
        _replace("list_eval_partition.txt", "   query", "   querry"),
        "{inshop}/Eval/list_eval_partition.txt: line 9: evaluation_status: found 'querry'; "
        "allowed: gallery, query, train; did you mean 'query'?",
    ),
    "a box missing": (
        "inshop",
        _replace("list_bbox_inshop.txt", "img/WOMEN/Dresses/id_00000001/00", "img/other"),
        "{inshop}/Eval/list_eval_partition.txt: line 3: 'img/WOMEN/Dresses/id_00000001/"
        "00_1_front.jpg' has no box in list_bbox_inshop.txt; allowed: a box for each, or "
        "data.inshop.boxes: false; get a whole copy of it",
    ),
    "a box without an area": (
        "inshop",
        _replace("list_bbox_inshop.txt", "002 001 010 012", "010 001 010 012"),
        "{inshop}/Anno/list_bbox_inshop.txt: line 3: found the box 10 1 10 12; allowed: x_1 < x_2 "
        "and y_1 < y_2; correct it",
    ),
    "a batch cut off": (
        "cifar10",
        _write("data_batch_3.bin", bytes(5000)),
        "cifar-10-batches-bin/data_batch_3.bin: found 5,000 bytes; allowed: a multiple of 3,073, "
        "the bytes of an image and its label; get a whole copy of it",
    ),
    "a class without a name": (
        "cifar10",
        _write("test_batch.bin", bytes([7]) + bytes(3072)),
        "cifar-10-batches-bin/test_batch.bin: found the label 7; allowed: 0 to 1, the lines of "
        "batches.meta.txt; get a whole copy of it",
    ),
    "a file cut off": (
        "fashion_mnist",
        _write("t10k-labels-idx1-ubyte.gz", idx(np.zeros(9, np.uint8))[:-3]),
        "t10k-labels-idx1-ubyte.gz: not a gzipped IDX file (Compressed file ended before the "
        "end-of-stream marker was reached); get a whole copy of it",
    ),
    "a file of other numbers": (
        "fashion_mnist",
        _write("t10k-labels-idx1-ubyte.gz", gzip.compress(b"\0\0\x0d\x01\0\0\0\0")),
        "t10k-labels-idx1-ubyte.gz: not a gzipped IDX file (its first bytes are not those of "
        "unsigned bytes in IDX); get a whole copy of it",
    ),
    "more labels than images": (
        "fashion_mnist",
        _write("train-labels-idx1-ubyte.gz", idx(np.zeros(7, np.uint8))),
        "train-labels-idx1-ubyte.gz: found (7,) labels of (8, 28, 28) images; allowed: one for "
        "each image; get a whole copy of both",
    ),
    "a label too high": (
        "fashion_mnist",
        _write("train-labels-idx1-ubyte.gz", idx(np.full(8, 10, np.uint8))),
        "train-labels-idx1-ubyte.gz: found the label 10; allowed: 0 to 9; get a whole copy of it",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_not_of_the_official_form_is_one_line(tmp_path: Path, mistake: str) -> None:
    name, change, line = MISTAKES[mistake]
    MAKE[name](tmp_path)
    change(tmp_path)
    line = line.replace("{inshop}", "In-shop Clothes Retrieval Benchmark")
    assert error_line(name, tmp_path) == f"{tmp_path}/{line.replace('{root}', f'{tmp_path}/')}"


def test_a_listed_name_that_no_disk_takes_is_one_line(tmp_path: Path) -> None:
    MAKE["sop"](tmp_path)
    listing = tmp_path / "Stanford_Online_Products/Ebay_test.txt"
    listing.write_text(listing.read_text() + f"16 11321 1 {'a' * 300}.JPG\n")
    line = error_line("sop", tmp_path)
    assert line.startswith(
        f"{listing}: line 11: lists '{'a' * 300}.JPG', but there is no such file"
    )

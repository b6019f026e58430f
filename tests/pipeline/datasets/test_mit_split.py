"""MIT_split: the test images are the queries, the training images the gallery."""

from pathlib import Path

import pytest

from pipeline.datasets.mit_split import archives, read_images
from pipeline.errors import UserError
from tests.helpers.options import dataset_options

OPTIONS = dataset_options("mit_split")


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize("below", [".", "MIT_split", "data/scenes/MIT_split"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Train", "TEST")])
def test_train_is_gallery_and_test_are_queries(
    tmp_path: Path, below: str, train: str, test: str
) -> None:
    put(tmp_path / below, f"{train}/coast/a.jpg", f"{test}/coast/b.jpg", f"{test}/forest/c.jpg")
    put(tmp_path, f"__MACOSX/MIT_split/{train}/coast/._a.jpg", "__MACOSX/train/coast/a.jpg")
    found = read_images(tmp_path, OPTIONS, 0)
    assert [(p.path, p.labels, p.source_split) for p in found] == [
        (f"{train}/coast/a.jpg", ("coast",), "train+gallery"),
        (f"{test}/coast/b.jpg", ("coast",), "query"),
        (f"{test}/forest/c.jpg", ("forest",), "query"),
    ]


@pytest.mark.parametrize(("present", "missing"), [("train", "test"), ("test", "train")])
def test_a_missing_split_is_one_line(tmp_path: Path, present: str, missing: str) -> None:
    put(tmp_path, f"{present}/coast/a.jpg")
    with pytest.raises(UserError) as caught:
        list(read_images(tmp_path, OPTIONS, 0))
    assert str(caught.value) == (
        f"{tmp_path}: found no {missing}/; allowed for data.name mit_split: the folder MIT_split "
        "or its .tar, with train/<class> and test/<class>; set data.source to it"
    )


@pytest.mark.parametrize(("sha256", "checksum"), [(None, None), ("0f", "sha256:0f")])
def test_the_archive_is_fetched_where_there_is_a_url(
    sha256: str | None, checksum: str | None
) -> None:
    url = "https://x.org/MIT_split.tar"
    assert archives(dataset_options("mit_split", url=url, sha256=sha256)) == {url: checksum}
    assert archives(dataset_options("mit_split", sha256=sha256)) == {}

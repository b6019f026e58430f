from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.report.dataset_summary import (
    LISTED,
    RejectedImages,
    SplitSummary,
    describe_dataset,
    read_rejected,
)

NONE_REJECTED = RejectedImages(0, [], [])


def test_images_classes_and_splits_are_counted() -> None:
    catalog = pd.DataFrame(
        {
            "image_id": ["a", "b", "c", "d"],
            "labels": [[0], [0, 1], [1], [2]],
            "group": ["x", "x", None, "y"],
        }
    )
    splits = pd.DataFrame(
        {
            "image_id": ["d", "c", "b", "a"],
            "split": ["test", "test", "train", "train"],
            "is_query": [True, False, False, False],
            "is_gallery": [True, True, False, False],
        }
    )
    names = {0: "cup", 1: "jug", 2: "pot", 3: "of no image"}
    found = describe_dataset(catalog, names, splits, NONE_REJECTED)
    assert (found.images, found.classes, found.groups) == (4, 3, 2)
    assert (found.queries, found.gallery) == (1, 2)
    assert found.splits == [
        SplitSummary("train", 2, 2),
        SplitSummary("val", 0, 0),
        SplitSummary("test", 2, 2),
    ]
    assert found.sizes["train"] == {"cup": 2, "jug": 1}
    assert found.totals == {"cup": 2, "jug": 2, "pot": 1}


def test_rejected_images_are_counted_by_reason_and_a_few_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "rejected.csv"
    many = "".join(f"NA/{number}.jpg,not an image\n" for number in range(LISTED + 3))
    damaged = "1.png,damaged (3 bytes missing)\n2.png,damaged (4 bytes missing)\n"
    path.write_text(f'path,reason\n"a, b.jpg",truncated\n{many}NA,\n{damaged}')
    found = read_rejected(path)
    assert found.count == LISTED + 7
    assert found.reasons == [
        ("not an image", LISTED + 3),
        ("damaged", 2),
        ("", 1),
        ("truncated", 1),
    ]
    assert found.listed[:2] == [("a, b.jpg", "truncated"), ("NA/0.jpg", "not an image")]
    assert len(found.listed) == LISTED


def test_without_a_rejected_image_nothing_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "rejected.csv"
    path.write_text("path,reason\n")
    assert read_rejected(path) == NONE_REJECTED


def test_a_missing_file_or_other_columns_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rejected.csv"
    with pytest.raises(UserError) as caught:
        read_rejected(path)
    assert str(caught.value) == (
        f"{path}: no such file; run the stage that writes it: dvc repro download"
    )
    path.write_text("image,why\n")
    with pytest.raises(UserError) as caught:
        read_rejected(path)
    assert str(caught.value) == (
        f"{path}: found columns image, why; allowed: path, reason; run: dvc repro download"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"path,reason\n\xff.png,empty\n", "'utf-8' codec can't decode byte 0xff in position "),
        (b'path,reason\n"a.png,empty\n', "Error tokenizing data. C error: EOF inside string "),
        (b"path,reason\na.png,empty\nb,c,empty\n", "Error tokenizing data. C error: Expected 2 "),
        (b"path,reason\nb,c,empty\n", "there are more values in a row than columns); "),
        (b"", "No columns to parse from file); "),
    ],
)
def test_a_damaged_file_is_one_line(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "rejected.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_rejected(path)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{path}: not a CSV table ({reason}")
    assert line.endswith("); run: dvc repro download")

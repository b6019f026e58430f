from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.report.dataset_summary import (
    NAMED,
    Rejected,
    SplitSummary,
    describe_dataset,
    read_rejected,
)

NOTHING = Rejected(0, [], [])


def test_images_classes_and_parts_are_counted() -> None:
    known = pd.DataFrame(
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
    found = describe_dataset(known, names, splits, NOTHING)
    assert (found.images, found.classes, found.groups) == (4, 3, 2)
    assert (found.queries, found.gallery) == (1, 2)
    assert found.parts == [
        SplitSummary("train", 2, 2),
        SplitSummary("val", 0, 0),
        SplitSummary("test", 2, 2),
    ]
    assert found.sizes["train"] == {"cup": 2, "jug": 1}
    assert found.totals == {"cup": 2, "jug": 2, "pot": 1}


def test_rejected_images_are_counted_by_reason_and_a_few_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rejected.csv"
    many = "".join(f"NA/{number}.jpg,not an image\n" for number in range(NAMED + 3))
    path.write_text(f'path,reason\n"a, b.jpg",truncated\n{many}NA,\n')
    found = read_rejected(path)
    assert found.count == NAMED + 5
    assert found.reasons == [("not an image", NAMED + 3), ("", 1), ("truncated", 1)]
    assert found.named[:2] == [("a, b.jpg", "truncated"), ("NA/0.jpg", "not an image")]
    assert len(found.named) == NAMED


def test_no_rejected_image_is_none(tmp_path: Path) -> None:
    path = tmp_path / "rejected.csv"
    path.write_text("path,reason\n")
    assert read_rejected(path) == NOTHING


def test_another_or_no_file_is_told(tmp_path: Path) -> None:
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

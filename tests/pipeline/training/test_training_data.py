"""The tables that training needs, joined; and each way in which they may not belong together."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from pipeline.data.tables import TRIPLETS, write_table
from pipeline.data.tie_order import tie_order
from pipeline.errors import UserError
from pipeline.training.training_data import TrainingData, read_training_data
from tests.helpers.dataset_tables import build_catalog, build_splits, write_dataset_tables
from tests.helpers.packer import Packer

IDS = [f"{kind}{n}" for kind in "ab" for n in range(6)]  # a0 … a5, b0 … b5
TRAIN = ["b1", "b0", "a1", "a0"]
SPLIT_OF = {image_id: "train" if image_id in TRAIN else "val" for image_id in reversed(IDS)}


def read(
    place: Path,
    *,
    split_of: Any = None,
    packed: Any = IDS,
    triplets: Any = None,
    gallery: Any = (),
    labels: Any = None,
) -> TrainingData:
    """Write the four inputs with the changes that are given, and read them."""
    split_of = split_of or SPLIT_OF
    labels = labels or [[7 if i < 6 else 9] for i in range(len(IDS))]
    write_dataset_tables(
        place,
        catalog=build_catalog(dict(zip(IDS, labels, strict=True))),
        splits=build_splits(split_of, queries=(), gallery=gallery),
    )
    mined = [("a0", "a1", "b0")] if triplets is None else triplets
    names = ("anchor", "positive", "negative")
    table = {
        name: pa.array([each[place] for each in mined], pa.string())
        for place, name in enumerate(names)
    }
    table["shared"] = pa.array([1] * len(mined), pa.int16())
    write_table(pa.table(table), place / "triplets.parquet", TRIPLETS)
    writer, encoded = Packer(place / "images"), io.BytesIO()
    Image.new("RGB", (8, 8)).save(encoded, "PNG")
    for image_id in packed:
        writer.add(image_id, encoded.getvalue())
    writer.close()
    return read_training_data(
        images=place / "images",
        catalog=place / "catalog.parquet",
        splits=place / "splits.parquet",
        triplets=place / "triplets.parquet",
    )


def in_tie_order(ids: Iterable[str]) -> list[str]:
    known = sorted(ids)
    return [known[row] for row in tie_order(known)]


def test_labels_are_counted_from_zero_and_triplets_are_rows(tmp_path: Path) -> None:
    data = read(tmp_path)
    assert data.train_ids == TRAIN
    assert data.train_labels.single
    assert data.train_labels.values.tolist() == [1, 1, 0, 0]
    assert data.triplets.tolist() == [[3, 2, 1]]
    assert data.val.ids == in_tie_order(set(IDS) - set(TRAIN))
    assert data.val.labels.first().tolist() == [7 if each[0] == "a" else 9 for each in data.val.ids]
    assert data.val.is_query.all()
    assert data.val.is_gallery.all()


def test_no_triplets_are_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path, triplets=[]).triplets.shape == (0, 3)


def test_every_label_of_a_training_image_is_kept(tmp_path: Path) -> None:
    """Those of the training images alone are numbered: 3, which only b5 has, is none of them."""
    labels = [[7]] * 6 + [[9, 4], [9], [9], [9], [9], [3, 9]]
    data = read(tmp_path, labels=labels)
    assert data.train_ids == ["b1", "b0", "a1", "a0"]
    assert not data.train_labels.single
    assert data.train_labels.starts.tolist() == [0, 1, 3, 4, 5]
    assert data.train_labels.values.tolist() == [2, 0, 2, 1, 1]


def test_validation_searches_the_training_images_where_these_are_the_gallery(
    tmp_path: Path,
) -> None:
    split_of = SPLIT_OF | {"b2": "train"}
    data = read(tmp_path, gallery=[*TRAIN, "b2", "a5"], split_of=split_of)
    queries = ["b5", "b4", "b3", "a5", "a4", "a3", "a2"]  # a5 is in the gallery of the test too
    ids = data.val.ids
    assert ids == in_tie_order([*queries, "b2", "b1", "b0", "a1", "a0"])
    assert data.val.is_query.tolist() == [each in queries for each in ids]
    assert data.val.is_gallery.tolist() == [each not in queries for each in ids]
    assert data.val.labels.first().tolist() == [7 if each[0] == "a" else 9 for each in ids]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"split_of": dict.fromkeys(IDS, "train")},
            "splits.parquet: no image is in split 'val'; change split.protocol, split.val_by "
            "or split.val_fraction (of few images: random, image and 0.5)",
        ),
        (
            {"split_of": dict.fromkeys(IDS, "train") | {"a5": "val", "b5": "val"}},
            "splits.parquet: found 2 validation images to search among 1 others; allowed: 5 "
            "others or more, and one of the same class; change split.val_by or "
            "split.val_fraction",
        ),
        (
            {"gallery": ["b1", "b0"]},
            "splits.parquet: found 8 validation images to search among 2 others; allowed: 5 "
            "others or more, and one of the same class; change split.val_by or "
            "split.val_fraction",
        ),
        (
            {"split_of": SPLIT_OF | {"c0": "train", "c1": "train"}},
            "splits.parquet: 2 of 6 image_ids are not in {place}/catalog.parquet, the first is "
            "'c0'; both must come from one run: dvc repro",
        ),
        (
            {"packed": [image_id for image_id in IDS if image_id != "a4"]},
            "images: 1 image_ids have no image, the first is 'a4'; run: dvc repro download",
        ),
        (
            {"packed": []},
            "images: no images were packed, only their labels; allowed here: packed images; "
            "set data.<name>.images: true",
        ),
    ],
    ids=[
        "no validation",
        "too small",
        "gallery too small",
        "not in the catalog",
        "no image",
        "no packed images",
    ],
)
def test_what_does_not_belong_together_is_named(changes: Any, line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, **changes)
    assert str(error.value) == f"{tmp_path}/{line.format(place=tmp_path)}"


def test_triplets_of_other_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, triplets=[("a0", "a5", "b0")])
    assert str(error.value) == (
        f"{tmp_path}/triplets.parquet: 1 of 1 image_ids are not in the train split of "
        f"{tmp_path}/splits.parquet, the first is 'a5'; both must come from one run: dvc repro"
    )

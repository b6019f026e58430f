"""What `auto` chooses, from two images to thousands of classes: never an error."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.tables import SPLITS, write_table
from pipeline.splitting.automatic import SplitOptions, list_chosen
from pipeline.splitting.protocols import Split, make_splits
from pipeline.training.training_data import has_enough_to_train
from tests.helpers.dataset_tables import build_catalog

AUTO = SplitOptions("auto", 0.5, "auto", "auto")


def catalog_of(sizes: Sequence[int], role: str | None = None) -> pa.Table:
    labels = {f"{c:05}/{n:03}": [c] for c, size in enumerate(sizes) for n in range(size)}
    return build_catalog(labels, source_splits=[role] * len(labels))


def split_by_auto(sizes: Sequence[int]) -> Split:
    return make_splits(catalog_of(sizes), AUTO, seed=7)


def count(split: Split) -> dict[str, int]:
    return Counter(split.table["split"].to_pylist())


@pytest.mark.parametrize(
    ("classes", "each", "chosen", "images"),
    [
        (2, 2, ("test_only", "image", 0.5), {"test": 4}),
        (3, 8, ("random", "image", 0.5), {"test": 12, "val": 6, "train": 6}),
        (5, 20, ("random", "image", 0.5), {"test": 50, "val": 25, "train": 25}),
        (10, 30, ("random", "image", 0.3333), {"test": 150, "val": 50, "train": 100}),
        (10, 100, ("random", "image", 0.1), {"test": 500, "val": 50, "train": 450}),
        (20, 3, ("class_disjoint", "class", 0.5), {"test": 30, "val": 15, "train": 15}),
        (200, 3, ("class_disjoint", "class", 0.1667), {"test": 300, "val": 51, "train": 249}),
        (3000, 2, ("class_disjoint", "class", 0.1), {"test": 3000, "val": 300, "train": 2700}),
        (8, 5, ("test_only", "image", 0.5), {"test": 40}),
    ],
)
def test_folders_of_all_sizes(
    classes: int, each: int, chosen: tuple[str, str, float], images: dict[str, int]
) -> None:
    split = split_by_auto([each] * classes)
    used = split.options
    assert (used.protocol, used.val_by, used.val_fraction) == chosen
    assert count(split) == images
    assert split.left_out.enough_to_train == (chosen[0] != "test_only")
    assert split.left_out.against_measuring == []
    assert list_chosen(AUTO, used) == dict(
        zip(("split.protocol", "split.val_by", "split.val_fraction"), chosen, strict=True)
    )


def test_one_class_is_searched_and_not_measured() -> None:
    """Any result would be right."""
    split = split_by_auto([9])
    assert count(split) == {"test": 9}
    assert not any(split.table["is_query"].to_pylist())
    assert all(split.table["is_gallery"].to_pylist())
    assert split.left_out.against_measuring


def test_single_images_are_searched_and_not_measured() -> None:
    split = split_by_auto([1] * 30)
    assert count(split) == {"test": 30}
    assert not any(split.table["is_query"].to_pylist())


def test_in_a_dataset_with_roles_too_small_to_train_they_are_kept() -> None:
    labels = {f"{n}": [n % 2] for n in range(8)}
    roles = ["train+gallery"] * 4 + ["query"] * 4
    split = make_splits(build_catalog(labels, source_splits=roles), AUTO, seed=7)
    assert split.options.protocol == "official"
    assert split.table["is_query"].to_pylist() == [False] * 4 + [True] * 4
    assert split.table["split"].to_pylist() == ["train"] * 4 + ["test"] * 4
    assert not split.left_out.enough_to_train


def test_a_validation_that_is_too_small_is_none(tmp_path: Path) -> None:
    labels = {f"{n}": [n % 2] for n in range(12)}
    roles = ["train"] * 6 + ["val"] * 2 + ["query+gallery"] * 4
    split = make_splits(build_catalog(labels, source_splits=roles), AUTO, seed=7)
    assert count(split) == {"train": 8, "test": 4}
    path = tmp_path / "splits.parquet"
    write_table(split.table, path, SPLITS)
    assert not has_enough_to_train(path)


def test_validation_is_by_image_where_the_test_has_the_same_classes() -> None:
    """As the test is, so that the epoch that is best there is likely the best in the test too."""
    labels = {f"{n:04}": [n % 60] for n in range(1800)}
    same = ["train+gallery"] * 1200 + ["query"] * 600
    assert make_splits(build_catalog(labels, source_splits=same), AUTO, seed=7).options.val_by == (
        "image"
    )
    new = ["train" if n % 60 < 50 else "query+gallery" for n in range(1800)]
    assert make_splits(build_catalog(labels, source_splits=new), AUTO, seed=7).options.val_by == (
        "class"
    )


def test_what_was_asked_for_is_kept() -> None:
    wanted = SplitOptions("random", 0.25, "image", 0.3)
    split = make_splits(catalog_of([20] * 30), wanted, seed=7)
    assert split.options == wanted
    assert list_chosen(wanted, split.options) == {}
    assert count(split) == {"test": 150, "val": 135, "train": 315}


@given(st.lists(st.integers(1, 14), min_size=1, max_size=45), st.integers(0, 99))
def test_auto_ends_in_a_split_of_all_images_for_any_sizes(sizes: list[int], seed: int) -> None:
    split = make_splits(catalog_of(sizes), AUTO, seed=seed)
    assert len(split.table) == sum(sizes)
    parts = count(split)
    if split.options.protocol == "test_only":
        assert set(parts) == {"test"}
    else:
        assert split.left_out.enough_to_train
        assert min(parts["train"], parts["val"], parts["test"]) > 1

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
        (2, 2, ("test_only",), {"test": 4}),
        (3, 8, ("test_only",), {"test": 24}),
        (3, 24, ("test_only",), {"test": 72}),
        (3, 26, ("random", "image", 0.5), {"test": 39, "val": 21, "train": 18}),
        (10, 6, ("test_only",), {"test": 60}),
        (10, 8, ("random", "image", 0.5), {"test": 40, "val": 20, "train": 20}),
        (5, 20, ("random", "image", 0.5), {"test": 50, "val": 25, "train": 25}),
        (10, 30, ("random", "image", 0.35), {"test": 150, "val": 50, "train": 100}),
        (10, 100, ("random", "image", 0.1), {"test": 489, "val": 48, "train": 463}),
        (20, 3, ("test_only",), {"test": 60}),
        (20, 8, ("class_disjoint", "image", 0.5), {"test": 80, "val": 40, "train": 40}),
        (24, 4, ("class_disjoint", "class", 0.5), {"test": 48, "val": 24, "train": 24}),
        (200, 3, ("class_disjoint", "class", 0.2), {"test": 333, "val": 63, "train": 204}),
        (3000, 2, ("class_disjoint", "class", 0.1), {"test": 3026, "val": 284, "train": 2690}),
        (8, 5, ("test_only",), {"test": 40}),
    ],
)
def test_folders_of_all_sizes(
    classes: int, each: int, chosen: tuple[str | float, ...], images: dict[str, int]
) -> None:
    split = split_by_auto([each] * classes)
    keys = ("split.protocol", "split.val_by", "split.val_fraction")
    assert list_chosen(AUTO, split.options) == dict(zip(keys, chosen, strict=False))
    assert count(split) == images
    assert split.left_out.enough_to_train == (not split.untrained) == (chosen[0] != "test_only")
    assert split.left_out.against_measuring == split.obstacles == []


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


@pytest.mark.parametrize("roles", [["train+gallery"] * 4, ["train"] * 2 + ["gallery"] * 2])
def test_a_dataset_with_roles_too_small_to_train_is_measured_by_them(roles: list[str]) -> None:
    labels = {f"{n}": [n % 2] for n in range(8)}
    split = make_splits(build_catalog(labels, source_splits=roles + ["query"] * 4), AUTO, seed=7)
    assert split.options.protocol == "official"
    assert split.table["is_query"].to_pylist() == [False] * 4 + [True] * 4
    unused = roles.count("train")
    assert split.table["split"].to_pylist() == ["unused"] * unused + ["test"] * (8 - unused)
    assert split.untrained
    assert split.obstacles == []


def test_roles_by_which_nothing_can_be_measured_are_an_obstacle() -> None:
    """Forty images of four classes to train on, and a test of three classes of one image."""
    labels = {f"{n:02}": [n % 4] for n in range(40)} | {f"t{n}": [n] for n in range(3)}
    roles = ["train"] * 40 + ["query+gallery"] * 3
    split = make_splits(build_catalog(labels, source_splits=roles), AUTO, seed=7)
    assert split.options.protocol == "official"
    assert split.untrained == []
    (obstacle,) = split.obstacles
    assert obstacle.startswith("none of the 3 queries has another image of its class in ")


def test_a_validation_without_a_match_trains_nothing_and_says_so(tmp_path: Path) -> None:
    labels = {f"{n:02}": [n % 2] for n in range(20)}
    roles = ["train"] * 14 + ["val"] * 2 + ["query+gallery"] * 4
    split = make_splits(build_catalog(labels, source_splits=roles), AUTO, seed=7)
    assert count(split) == {"unused": 16, "test": 4}
    (why,) = split.untrained
    assert why.startswith("none of the 2 validation images has another image of its class")
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
    assert count(split) == {"test": 150, "val": 150, "train": 300}


@given(st.lists(st.integers(1, 14), min_size=1, max_size=45), st.integers(0, 99))
def test_auto_ends_in_a_split_of_all_images_for_any_sizes(sizes: list[int], seed: int) -> None:
    split = make_splits(catalog_of(sizes), AUTO, seed=seed)
    assert len(split.table) == sum(sizes)
    parts = count(split)
    if split.options.protocol == "test_only":
        assert set(parts) == {"test"}
    else:
        assert split.left_out.enough_to_train
        assert not split.left_out.against_choosing
        assert min(parts["train"], parts["val"], parts["test"]) > 1


@pytest.mark.parametrize(
    ("classes", "each"), [(10, 8), (9, 9), (8, 10), (7, 12), (6, 14), (5, 16), (4, 20), (3, 27)]
)
@pytest.mark.parametrize("seed", range(10))
def test_from_eighty_images_in_classes_of_eight_a_network_is_trained(
    classes: int, each: int, seed: int
) -> None:
    """As the README says, whatever the seed."""
    split = make_splits(catalog_of([each] * classes), AUTO, seed=seed)
    assert split.options.protocol == "random"
    assert not split.untrained

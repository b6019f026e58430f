"""A subset is balanced, keeps classes whole where it can, and depends on no order."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.counts import SplitCounts, check_counts
from pipeline.datasets.source_image import SourceImage
from pipeline.datasets.subset import WHOLE, sample_subset
from pipeline.errors import UserError


def make(sizes: list[int], roles: str | None = None) -> list[SourceImage]:
    """Return images of classes of `sizes`."""
    return [
        SourceImage(f"{roles}/{label:03d}/{shot:04d}", (f"c{label:03d}",), None, source_split=roles)
        for label, size in enumerate(sizes)
        for shot in range(size)
    ]


def class_sizes(images: list[SourceImage]) -> Counter[str]:
    return Counter(image.labels[0] for image in images)


def test_without_a_number_all_stay() -> None:
    images = make([3, 4])
    assert sample_subset(images, None, seed=7) == images


def test_few_large_classes_all_stay_with_equally_many_each() -> None:
    sampled = sample_subset(make([500] * 9 + [12]), 300, seed=7)
    # The small one gives all it has, and the others share what is left.
    assert sorted(class_sizes(sampled).values()) == [12] + [32] * 9


def test_many_small_classes_stay_whole_or_go_whole() -> None:
    sizes = [2 + label % 11 for label in range(400)]
    sampled = sample_subset(make(sizes), 300, seed=7)
    assert len(sampled) in (299, 300)
    cut = [
        name
        for name, number in class_sizes(sampled).items()
        if number < sizes[int(name.lstrip("c"))]
    ]
    assert len(cut) <= 1
    assert min(class_sizes(sampled).values()) >= 2


def test_queries_and_gallery_have_the_same_classes() -> None:
    images = make([40] * 30, "train+gallery") + make([40] * 30, "query")
    sampled = sample_subset(images, 100, seed=7)
    by_part = {
        roles: class_sizes([each for each in sampled if each.source_split == roles])
        for roles in ("train+gallery", "query")
    }
    assert by_part["query"] == by_part["train+gallery"]
    assert set(by_part["query"].values()) == {WHOLE}
    assert len(sampled) == 200


def test_a_class_that_is_cut_keeps_queries_and_gallery() -> None:
    sampled = sample_subset(make([50] * 4, "query") + make([50] * 4, "gallery"), 40, seed=7)
    assert Counter(each.source_split for each in sampled) == {"query": 20, "gallery": 20}
    assert set(class_sizes(sampled).values()) == {WHOLE}


def test_each_part_has_the_number_of_its_own() -> None:
    images = make([5] * 40, "train") + make([5] * 30, "val") + make([5] * 20, "query+gallery")
    sampled = sample_subset(images, 50, seed=7)
    assert Counter(each.source_split for each in sampled) == {
        "train": 50,
        "val": 50,
        "query+gallery": 50,
    }


def test_unlabelled_images_stay_to_be_told_of() -> None:
    unlabelled = SourceImage("a", (), None)
    assert unlabelled in sample_subset([unlabelled, *make([30, 30])], 10, seed=7)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    max_images=st.integers(1, 200),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_a_subset_depends_on_the_seed_and_not_on_the_order(
    sizes: list[int], max_images: int, seed: int, data: st.DataObject
) -> None:
    images = make(sizes)
    sampled = sample_subset(images, max_images, seed=seed)
    assert sample_subset(data.draw(st.permutations(images)), max_images, seed=seed) == sampled
    assert len(sampled) <= max_images
    assert set(sampled) <= set(images)
    if max_images >= len(images):
        assert sampled == images


def test_another_seed_draws_others() -> None:
    images = make([5] * 100)
    assert sample_subset(images, 50, seed=1) != sample_subset(images, 50, seed=2)


def test_right_numbers_pass() -> None:
    images = make([2, 3], "train") + make([4], "query")
    counts = {"train": SplitCounts(5, 2), "query": SplitCounts(4, 1)}
    assert check_counts(iter(images), counts, where="here") == images


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        (
            {"train": SplitCounts(1_005, 2, 3)},
            "here: found 5 images of 2 classes for train; allowed: 1,005 images of 2 classes "
            "in 3 groups, as published; get a whole copy, or read a part of it with data.name "
            "folder",
        ),
        (
            {"train": SplitCounts(5, 2), "query": SplitCounts(4, 1)},
            "here: found 0 images of 0 classes for query; allowed: 4 images of 1 classes, as "
            "published; get a whole copy, or read a part of it with data.name folder",
        ),
        (
            {"val": SplitCounts(0, 0)},
            "here: found 5 images of 2 classes for train; allowed: 0 images of 0 classes, as "
            "published; get a whole copy, or read a part of it with data.name folder",
        ),
    ],
)
def test_wrong_numbers_are_an_error(counts: dict[str, SplitCounts], line: str) -> None:
    with pytest.raises(UserError) as caught:
        check_counts(make([2, 3], "train"), counts, where="here")
    assert str(caught.value) == line

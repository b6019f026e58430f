"""What a split leaves without use is counted; a split that measures nothing is refused."""

from collections.abc import Sequence
from itertools import compress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.splitting.left_out import LeftOut, find_left_out
from tests.helpers.dataset_tables import build_catalog, build_splits

Row = tuple[list[int], str, bool, bool]  # labels, split, is_query, is_gallery

TRAIN = ("train", False, False)
VAL = ("val", False, False)
TEST = ("test", True, True)
QUERY = ("test", True, False)
GALLERY = ("test", False, True)
REMEDY = "choose another split.protocol, split.test_fraction or split.val_fraction"
VAL_REMEDY = (
    "lower split.test_fraction, or raise split.val_fraction, or set split.val_by image (of few "
    "images: split.protocol random, split.val_by image and split.val_fraction 0.5)"
)


def too_few(queries: int) -> list[str]:
    return [
        f"found {queries} validation images with a match, too few to tell whether training "
        "made the model better; split.protocol auto trains with 20 or more (of 80 images in "
        "classes of 8 or more); another one trains with these too"
    ]


def find(rows: Sequence[Row]) -> LeftOut:
    ids = [f"{number:02}" for number in range(len(rows))]
    labels, names, query, gallery = zip(*rows, strict=True)
    catalog = build_catalog(dict(zip(ids, labels, strict=True)))
    splits = build_splits(
        dict(zip(ids, names, strict=True)),
        queries=list(compress(ids, query)),
        gallery=list(compress(ids, gallery)),
    )
    # The two tables need not be in one order.
    return find_left_out(catalog.take(list(range(len(ids)))[::-1]), splits)


# A class of two images and another one to train on; two to measure with, six to validate with.
TRAINED: list[Row] = [([0], *TRAIN), ([0], *TRAIN), ([8], *TRAIN), ([8], *TRAIN)]
MEASURED: list[Row] = [*TRAINED, ([1], *TEST), ([1], *TEST)]
VALIDATED: list[Row] = [*MEASURED, *[([2], *VAL)] * 6]


def test_of_a_good_split_nothing_is_left_out() -> None:
    found = find(VALIDATED)
    assert found == LeftOut([], [], too_few(6), [])
    assert found.enough_to_train
    assert find([*VALIDATED, *[([2], *VAL)] * 13]).against_choosing == too_few(19)
    assert find([*VALIDATED, *[([2], *VAL)] * 14]) == LeftOut([], [], [], [])


def test_what_is_of_no_use_is_named_and_counted() -> None:
    alone: list[Row] = [([3], *TRAIN), ([4], *TRAIN), ([5], *TEST), ([6], *VAL)]
    found = find(VALIDATED + alone)
    assert found.unused == [
        "classes with one image, which has no match: 4 ('12', '13', '14' and 1 more)",
        "queries without another image of their class in the gallery: 1 ('14')",
        "validation queries without another image of their class to find: 1 ('15')",
    ]
    assert found.enough_to_train


def test_the_gallery_of_validation_is_as_that_of_test() -> None:
    in_gallery: list[Row] = [
        *[([0], "train", False, True)] * 4,
        ([1], *QUERY),
        ([1], "train", False, True),
    ]
    assert find([*in_gallery, ([0], *VAL)]) == LeftOut([], [], too_few(1), [])
    assert find([*in_gallery, ([2], *VAL), ([2], *VAL), ([0], *VAL)]).unused == [
        "validation queries without another image of their class to find: 2 ('06', '07')",
    ]


def test_training_needs_a_validation() -> None:
    assert find(MEASURED) == LeftOut(
        [],
        [
            "found no image for validation, so no best epoch can be chosen; allowed: one or "
            f"more; {VAL_REMEDY}"
        ],
        too_few(0),
        [],
    )


def test_training_needs_a_validation_with_something_to_find() -> None:
    assert find([*MEASURED, ([2], *VAL), ([3], *VAL)]).against_training == [
        "none of the 2 validation images has another image of its class to find ('06', "
        "'07'), so no best epoch can be chosen; allowed: one or more that does; " + VAL_REMEDY
    ]


def test_training_needs_a_validation_with_five_others() -> None:
    """Among which recall at 5 is measured."""
    assert find([*MEASURED, *[([2], *VAL)] * 5]).against_training == [
        "found 5 validation images to search among 4 others; allowed: 5 others or more; "
        + VAL_REMEDY
    ]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([([0], *TRAIN)] * 3, "1 class for training, the largest of 3 images"),
        ([([n], *TRAIN) for n in range(3)], "3 classes for training, the largest of 1 images"),
    ],
    ids=["one class", "one image of each"],
)
def test_training_needs_two_classes_and_two_images(rows: list[Row], line: str) -> None:
    assert find([*rows, *VALIDATED[4:]]).against_training == [
        f"found {line}; allowed: two classes or more, one of them of two images or more; " + REMEDY
    ]


@pytest.mark.parametrize(
    ("rows", "role"),
    [
        ([*TRAINED, ([1], *GALLERY)], "query"),
        ([*TRAINED, ([1], *QUERY)], "gallery"),
    ],
)
def test_measuring_needs_queries_and_a_gallery(rows: list[Row], role: str) -> None:
    assert find(rows).against_measuring == [
        f"found no {role} image; allowed: one or more; {REMEDY}"
    ]
    assert not find([*rows, *VALIDATED[6:]]).enough_to_train


def test_training_needs_images() -> None:
    assert find([([1], *TEST), ([1], *TEST)]).against_training[0] == (
        f"found no train image; allowed: one or more; {REMEDY}"
    )


def test_measuring_needs_a_query_with_a_relevant_image() -> None:
    rows: list[Row] = [([0], *TRAIN), ([1], *TEST), ([2], *TEST), ([3], *QUERY), ([4], *QUERY)]
    assert find(rows).against_measuring == [
        "none of the 4 queries has another image of its class in the gallery ('01', '02', "
        "'03' and 1 more), so nothing can be measured; allowed: one or more that does; add "
        f"images, or {REMEDY}"
    ]


def test_a_query_is_not_relevant_to_itself_but_a_training_image_may_be() -> None:
    rows: list[Row] = [([0], "train", False, True), ([0], *QUERY), ([1], *TEST), *TRAINED[2:]]
    assert find([*rows, ([0], *VAL)]).unused == [
        "classes with one image, which has no match: 1 ('02')",
        "queries without another image of their class in the gallery: 1 ('02')",
    ]


label_lists = st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True)
roles = st.sampled_from([TRAIN, VAL, TEST, QUERY, GALLERY])
more_rows = st.lists(
    st.tuples(label_lists, roles).map(lambda pair: (pair[0], *pair[1])), max_size=12
)


@given(more_rows)
def test_queries_without_relevant_images_are_those_that_a_plain_search_finds(
    more: list[Row],
) -> None:
    rows = VALIDATED + more
    without_relevant = [
        number
        for number, (labels, _, query, _) in enumerate(rows)
        if query
        and not any(
            gallery and set(labels) & set(others) and other != number
            for other, (others, _, _, gallery) in enumerate(rows)
        )
    ]
    reported = [
        line.split(": ")[1].split()[0] for line in find(rows).unused if line.startswith("queries")
    ]
    assert reported == ([str(len(without_relevant))] if without_relevant else [])

"""What a split leaves without use is counted; a split that measures nothing is refused."""

from collections.abc import Sequence
from itertools import compress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.splitting.left_out import report_split
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


def report(rows: Sequence[Row]) -> list[str]:
    ids = [f"{number:02}" for number in range(len(rows))]
    labels, names, query, gallery = zip(*rows, strict=True)
    catalog = build_catalog(dict(zip(ids, labels, strict=True)))
    splits = build_splits(
        dict(zip(ids, names, strict=True)),
        queries=list(compress(ids, query)),
        gallery=list(compress(ids, gallery)),
    )
    # The two tables need not be in one order.
    return report_split(catalog.take(list(range(len(ids)))[::-1]), splits)


def error_line(rows: Sequence[Row]) -> str:
    with pytest.raises(UserError) as caught:
        report(rows)
    return str(caught.value)


GOOD: list[Row] = [([0], *TRAIN), ([0], *TRAIN), ([1], *TEST), ([1], *TEST)]
VALIDATED: list[Row] = [*GOOD, ([2], *VAL), ([2], *VAL)]


def test_a_good_split_has_nothing_to_report() -> None:
    assert report(VALIDATED) == []


def test_what_is_of_no_use_is_named_and_counted() -> None:
    alone: list[Row] = [([3], *TRAIN), ([4], *TRAIN), ([5], *TEST), ([6], *VAL)]
    assert report(VALIDATED + alone) == [
        "classes with one image, which has no match: 4 ('06', '07', '08' and 1 more)",
        "queries without another image of their class in the gallery: 1 ('08')",
        "validation queries without another image of their class to find: 1 ('09')",
    ]


def test_the_gallery_of_validation_is_as_that_of_test() -> None:
    in_gallery: list[Row] = [
        ([0], "train", False, True),
        ([1], *QUERY),
        ([1], "train", False, True),
    ]
    assert report([*in_gallery, ([0], *VAL)]) == []
    assert report([*in_gallery, ([0], *TRAIN), ([2], *VAL), ([2], *VAL), ([0], *VAL)]) == [
        "validation queries without another image of their class to find: 2 ('04', '05')",
    ]


def test_an_empty_validation_is_refused() -> None:
    assert error_line(GOOD) == (
        "split: found no image for validation, so no best epoch can be chosen; allowed: one or "
        f"more; {VAL_REMEDY}"
    )


def test_a_validation_without_anything_to_find_is_refused() -> None:
    assert error_line([*GOOD, ([2], *VAL), ([3], *VAL)]) == (
        "split: none of the 2 validation images has another image of its class to find ('04', "
        "'05'), so no best epoch can be chosen; allowed: one or more that does; " + VAL_REMEDY
    )


@pytest.mark.parametrize(
    ("rows", "role"),
    [
        ([([1], *TEST), ([1], *TEST)], "train"),
        ([([0], *TRAIN), ([1], *GALLERY)], "query"),
        ([([0], *TRAIN), ([1], *QUERY)], "gallery"),
    ],
)
def test_an_empty_role_is_refused(rows: list[Row], role: str) -> None:
    assert error_line(rows) == f"split: found no {role} image; allowed: one or more; {REMEDY}"


def test_queries_without_any_relevant_image_are_refused() -> None:
    rows: list[Row] = [([0], *TRAIN), ([1], *TEST), ([2], *TEST), ([3], *QUERY), ([4], *QUERY)]
    assert error_line(rows) == (
        "split: none of the 4 queries has another image of its class in the gallery ('01', '02', "
        "'03' and 1 more), so nothing can be measured; allowed: one or more that does; add "
        f"images, or {REMEDY}"
    )


def test_a_query_is_not_relevant_to_itself_but_a_training_image_may_be() -> None:
    rows: list[Row] = [
        ([0], "train", False, True),
        ([0], *QUERY),
        ([1], *TEST),
        *GOOD[:2],
        ([0], *VAL),
        ([0], *VAL),
    ]
    assert report(rows) == [
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
        line.split(": ")[1].split()[0] for line in report(rows) if line.startswith("queries")
    ]
    assert reported == ([str(len(without_relevant))] if without_relevant else [])

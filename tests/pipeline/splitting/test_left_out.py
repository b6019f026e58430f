"""What a split leaves without use is named and counted; one that measures nothing is refused."""

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


def told(rows: Sequence[Row]) -> str:
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
        "classes of one image, which has nothing to match: 4 ('06', '07', '08' and 1 more)",
        "queries without another image of their class in the gallery: 1 ('08')",
        "validation images without another of their class to find: 1 ('09')",
    ]


def test_validation_images_are_searched_where_test_images_are() -> None:
    searched: list[Row] = [([0], "train", False, True), ([1], *QUERY), ([1], "train", False, True)]
    assert report([*searched, ([0], *VAL)]) == []
    assert report([*searched, ([0], *TRAIN), ([2], *VAL), ([2], *VAL)]) == [
        "validation images without another of their class to find: 2 ('04', '05')",
    ]


def test_no_validation_is_told() -> None:
    assert report(GOOD) == [
        f"no image is for validation, so the best epoch cannot be told; {REMEDY}"
    ]


@pytest.mark.parametrize(
    ("rows", "role"),
    [
        ([([1], *TEST), ([1], *TEST)], "train"),
        ([([0], *TRAIN), ([1], *GALLERY)], "query"),
        ([([0], *TRAIN), ([1], *QUERY)], "gallery"),
    ],
)
def test_an_empty_role_is_refused(rows: list[Row], role: str) -> None:
    assert told(rows) == f"split: no image is for {role}; allowed: one or more; {REMEDY}"


def test_queries_without_any_answer_are_refused() -> None:
    rows: list[Row] = [([0], *TRAIN), ([1], *TEST), ([2], *TEST), ([3], *QUERY), ([4], *QUERY)]
    assert told(rows) == (
        "split: none of the 4 queries has another image of its class in the gallery ('01', '02', "
        "'03' and 1 more), so nothing can be measured; allowed: one or more that does; add "
        f"images, or {REMEDY}"
    )


def test_a_query_is_not_its_own_answer_but_a_training_image_may_be() -> None:
    rows: list[Row] = [
        ([0], "train", False, True),
        ([0], *QUERY),
        ([1], *TEST),
        *GOOD[:2],
        ([0], *VAL),
        ([0], *VAL),
    ]
    assert report(rows) == [
        "classes of one image, which has nothing to match: 1 ('02')",
        "queries without another image of their class in the gallery: 1 ('02')",
    ]


label_lists = st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True)
roles = st.sampled_from([TRAIN, VAL, TEST, QUERY, GALLERY])
drawn_rows = st.lists(
    st.tuples(label_lists, roles).map(lambda pair: (pair[0], *pair[1])), max_size=12
)


@given(drawn_rows)
def test_unanswered_queries_are_those_that_a_plain_search_finds(drawn: list[Row]) -> None:
    rows = VALIDATED + drawn
    unanswered = [
        number
        for number, (labels, _, query, _) in enumerate(rows)
        if query
        and not any(
            gallery and set(labels) & set(others) and other != number
            for other, (others, _, _, gallery) in enumerate(rows)
        )
    ]
    told_counts = [
        line.split(": ")[1].split()[0] for line in report(rows) if line.startswith("queries")
    ]
    assert told_counts == ([str(len(unanswered))] if unanswered else [])

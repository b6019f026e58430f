"""Confused classes, by hand and against a plain loop over every query."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.label_sets import from_lists
from pipeline.evaluation.confusions import tabulate_confusions


def confuse(
    labels: list[list[int]],
    hits: list[list[int]],
    wrong: list[bool],
    cosines: list[float] | None = None,
    has_relevant: list[bool] | None = None,
) -> pd.DataFrame:
    count = len(labels)
    table = tabulate_confusions(
        from_lists(labels),
        from_lists(hits),
        wrong=np.array(wrong),
        has_relevant=np.array(has_relevant or [True] * count),
        cosines=np.array(cosines or [0.5] * count, np.float32),
        ids=np.array([f"q{i}" for i in range(count)], dtype=object),
        hit_ids=np.array([f"h{i}" for i in range(count)], dtype=object),
    )
    found: pd.DataFrame = table.to_pandas()
    return found


def test_the_most_frequent_pair_comes_first_with_its_closest_example() -> None:
    table = confuse(
        [[1], [1], [1], [1], [2], [3]],
        [[2], [2], [3], [1], [1], [3]],
        [True, True, True, False, True, False],
        [0.5, 0.9, 0.7, 1.0, 0.8, 1.0],
    )
    assert table.to_dict("list") == {
        "label": [1, 1, 2],
        "other": [2, 3, 1],
        "queries": [2.0, 1.0, 1.0],
        "share": [0.5, 0.25, 1.0],
        "image_id": ["q1", "q2", "q4"],
        "top_hit": ["h1", "h2", "h4"],
    }


def test_a_query_with_several_labels_counts_in_parts_for_each_pair() -> None:
    table = confuse([[1, 2], [1]], [[3, 4, 5], [3]], [True, True])
    pairs = list(zip(table["label"], table["other"], table["queries"], strict=True))
    sixth = round(1 / 6, 6)
    assert pairs == [
        (1, 3, round(7 / 6, 6)),
        *(
            (label, other, sixth)
            for label in (1, 2)
            for other in (3, 4, 5)
            if (label, other) != (1, 3)
        ),
    ]
    assert table["share"].tolist()[:2] == [round(7 / 12, 6), round(1 / 12, 6)]


def test_six_sixths_equal_one_whole() -> None:
    assert sum([1 / 6] * 6) < 1  # so without rounding it would be last
    table = confuse([[1, 2]] * 6 + [[5]], [[7, 8, 9]] * 6 + [[6]], [True] * 7)
    assert table["queries"].tolist() == [1.0] * 7
    assert table["label"].tolist() == [1, 1, 1, 2, 2, 2, 5]


def test_queries_without_a_relevant_image_are_not_in_the_share() -> None:
    table = confuse([[1], [1]], [[2], [2]], [True, False], has_relevant=[True, False])
    assert table["share"].tolist() == [1.0]


def test_without_a_wrong_top_hit_the_table_is_empty() -> None:
    assert confuse([[1], [2]], [[1], [2]], [False, False]).empty


LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)


@given(st.lists(st.tuples(LABELS, LABELS, st.booleans(), st.integers(0, 9)), min_size=1))
def test_counts_and_examples_are_those_of_a_plain_loop(
    queries: list[tuple[list[int], list[int], bool, int]],
) -> None:
    labels, hits, wrong, tenths = (list(column) for column in zip(*queries, strict=True))
    found = confuse(labels, hits, wrong, [tenth / 10 for tenth in tenths])
    counts: dict[tuple[int, int], Fraction] = {}
    examples: dict[tuple[int, int], int] = {}
    for query, (own_labels, others, is_wrong, cosine) in enumerate(queries):
        for pair in [(label, other) for label in own_labels for other in others if is_wrong]:
            counts[pair] = counts.get(pair, Fraction(0)) + Fraction(
                1, len(own_labels) * len(others)
            )
            if cosine > tenths[examples.setdefault(pair, query)]:
                examples[pair] = query
    order = sorted(counts, key=lambda pair: (-counts[pair], *pair))
    assert list(zip(found["label"], found["other"], strict=True)) == order
    assert found["queries"].tolist() == [round(float(counts[pair]), 6) for pair in order]
    assert found["image_id"].tolist() == [f"q{examples[pair]}" for pair in order]
    totals = [sum(pair[0] in each for each in labels) for pair in order]
    shares = [float(counts[pair]) / total for pair, total in zip(order, totals, strict=True)]
    assert found["share"].tolist() == pytest.approx(shares, abs=1e-6)
    # The counts of a query sum to one.
    assert found["queries"].sum() == pytest.approx(sum(wrong), abs=1e-4)

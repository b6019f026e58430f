"""Label sets: what shares a label, against a loop; no set is empty."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.label_sets import from_lists, label_sets
from pipeline.errors import UserError

images = st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.booleans())


@given(st.lists(images, min_size=1, max_size=8))
def test_an_image_has_a_relevant_one_where_another_shares_a_label(
    drawn: list[tuple[list[int], bool]],
) -> None:
    lists, among = [labels for labels, _ in drawn], np.array([there for _, there in drawn])
    sets = from_lists(lists)
    assert sets.first().tolist() == [min(labels) for labels in lists]
    assert sets.have_relevant(among).tolist() == [
        any(
            other != here and among[other] and set(lists[here]) & set(lists[other])
            for other in range(len(lists))
        )
        for here in range(len(lists))
    ]


@pytest.mark.parametrize("lists", [[[1], [], [1]], [[1], [1], []], [[]]])
def test_an_image_without_a_label_is_refused(lists: list[list[int]]) -> None:
    for make in (
        lambda: from_lists(lists),
        lambda: label_sets(pa.chunked_array([pa.array(lists, pa.list_(pa.int32()))])),
    ):
        with pytest.raises(UserError) as error:
            make()
        assert str(error.value) == (
            f"labels: image {lists.index([])} of {len(lists)} has none; allowed: one or more for "
            "each, as packing writes them; run: dvc repro download"
        )

"""Decks and the classes of batches: what is dealt, and that nothing is forgotten."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.training.dealing import Deck, deal_classes, expect_appearances

few = settings(max_examples=80, deadline=None)


@few
@given(st.integers(1, 12), st.lists(st.integers(1, 12), max_size=30), st.integers(0, 9))
def test_a_card_returns_only_after_all_others(size: int, counts: list[int], seed: int) -> None:
    deck, rng = Deck(np.arange(size) + 100), np.random.default_rng(seed)
    times = dict.fromkeys(range(100, 100 + size), 0)
    for count in counts:
        dealt = deck.deal(count, rng)
        assert len(set(dealt)) == len(dealt) == (count if count <= size else 0)
        for card in dealt:
            times[card] += 1
        assert max(times.values()) - min(times.values()) <= 1


@few
@example(8, [(2, {0, 5, 6, 7}), (1, {0, 2, 4, 5, 6, 7}), (2, {0, 1, 2, 4, 5, 6})], 0)
@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(1, 5), st.sets(st.integers(0, 9))), max_size=60),
    st.integers(0, 9),
)
def test_a_card_that_is_passed_over_is_not_lost(
    size: int, wishes: list[tuple[int, set[int]]], seed: int
) -> None:
    deck, rng = Deck(np.arange(size)), np.random.default_rng(seed)
    for count, without in wishes:
        dealt = deck.deal(count, rng, without=without)
        free = set(range(size)) - without
        assert len(set(dealt)) == len(dealt) == (count if count <= len(free) else 0)
        assert set(dealt) <= free
    # What was passed over comes before the next round; each wish passed over two rounds at most.
    waiting = 2 * size * len(wishes)
    rest = [card for _ in range(waiting + size) for card in deck.deal(1, rng, without=set())]
    assert set(rest) == set(range(size))


@few
@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=40),
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(0, 99),
)
def test_each_batch_has_p_different_classes(
    sizes: list[int], classes: int, batches: int, seed: int
) -> None:
    classes = min(classes, len(sizes))
    expected = expect_appearances(np.array(sizes), classes=classes, batches=batches)
    assert np.isclose(expected.sum(), classes * batches)
    rng = np.random.default_rng(seed)
    dealt = deal_classes(expected, classes=classes, batches=batches, rng=rng)
    assert [len(set(each)) for each in dealt] == [classes] * batches == [len(e) for e in dealt]


def test_hand_computed_appearances() -> None:
    """Of 100, 30, 20, 10: two are in all 10 batches of 3, then 20 and 10 share ten places as 2:1.

    In batches of 2, 100 is in all, and the others share ten places as 3:2:1.
    """
    sizes = np.array([20, 100, 10, 30])
    found = expect_appearances(sizes, classes=3, batches=10)
    assert np.allclose(found, [20 / 3, 10, 10 / 3, 10])
    found = expect_appearances(sizes, classes=2, batches=10)
    assert np.allclose(found, [20 / 6, 10, 10 / 6, 5])


def test_classes_meet_all_others() -> None:
    rng = np.random.default_rng(0)
    expected = expect_appearances(np.full(12, 8), classes=4, batches=6)
    met = np.zeros((12, 12), dtype=int)
    for _ in range(200):
        for batch in deal_classes(expected, classes=4, batches=6, rng=rng):
            met[np.ix_(batch, batch)] += 1
    apart = met[~np.eye(12, dtype=bool)]
    assert apart.min() > 0.7 * apart.mean()
    assert apart.max() < 1.3 * apart.mean()

"""Which classes and images a PK batch has: dealt as cards are, so that none is forgotten."""

from collections.abc import Set

import numpy as np

from pipeline.data.arrays import Floats, Ints


class Deck:
    """Deals its cards in shuffled rounds: a card returns only after all others were dealt."""

    def __init__(self, cards: Ints) -> None:
        self._cards = cards
        self._pile: list[int] = []  # the last one is dealt next

    def deal(
        self, count: int, rng: np.random.Generator, *, without: Set[int] | None = None
    ) -> list[int]:
        """Return `count` different cards, none of them in `without`; [] where too few are left.

        A card that is passed over is the first of the next ones.
        """
        if without is None and len(self._pile) >= count:  # a pile of one round, so all differ
            kept = len(self._pile) - count
            dealt = self._pile[kept:][::-1]
            del self._pile[kept:]
            return dealt
        banned = set(without or ())
        if len(self._cards) < count + len(banned) and not self._can_deal(count, banned):
            return []
        dealt, passed_over = [], []
        while len(dealt) < count:
            if not self._pile:
                self._pile = rng.permutation(self._cards).tolist()
            card = self._pile.pop()
            if card in banned:
                passed_over.append(card)
            else:
                dealt.append(card)
                banned.add(card)
        self._pile.extend(reversed(passed_over))
        return dealt

    def _can_deal(self, count: int, banned: Set[int]) -> bool:
        return sum(card not in banned for card in self._cards.tolist()) >= count


def count_batches(sizes: Ints, *, classes: int, per_class: int) -> int:
    """Return the fewest batches of P classes of K images that have as many images as there are.

    sizes: int64 [C], the images of each class; one with fewer than K counts as K.
    """
    return -(-int(np.maximum(sizes, per_class).sum()) // (classes * per_class))


def expect_appearances(sizes: Ints, *, classes: int, batches: int) -> Floats:
    """Return float64 [C]: in how many of B batches of P classes each class should be.

    In proportion to its images, but at most in all of them: B min(1, s n_c), with the s that gives
    a sum of P B. Some m of the largest classes are in all batches; the others share the rest.

    sizes: int64 [C], C >= P.
    """
    largest = np.sort(sizes)[::-1][:classes]
    images_from = sizes.sum() - np.cumsum(largest) + largest  # of each one and all smaller ones
    free = classes - np.arange(classes)  # places in a batch beside the larger ones
    m = int(np.argmax(largest * free <= images_from))
    expected: Floats = np.minimum(batches, batches * free[m] * sizes / images_from[m])
    return expected


def deal_classes(
    expected: Floats, *, classes: int, batches: int, rng: np.random.Generator
) -> list[list[int]]:
    """Return the classes of each of B batches: P different ones in random combinations.

    A class is in as many batches as expected, rounded down or up at random.

    expected: float64 [C], of `expect_appearances`.
    """
    deck = Deck(np.arange(batches))
    of_batch: list[list[int]] = [[] for _ in range(batches)]
    order = rng.permutation(len(expected))
    counts = _round_randomly(expected[order], total=classes * batches, rng=rng)
    # P B cards are P whole rounds, so that each batch is dealt to P classes.
    for c, count in zip(order.tolist(), counts.tolist(), strict=True):
        for batch in deck.deal(count, rng):
            of_batch[batch].append(c)
    return of_batch


def _round_randomly(expected: Floats, *, total: int, rng: np.random.Generator) -> Ints:
    """Return int64 [C], `expected` rounded so that the sum is `total`: systematic sampling."""
    counts = np.floor(expected + 1e-9).astype(np.int64)
    left = total - int(counts.sum())
    if left:
        edges = np.cumsum(np.maximum(expected - counts, 0))
        places = np.floor(edges * (left / edges[-1]) + rng.random()).astype(np.int64)
        places[-1] = left
        counts += np.diff(places, prepend=0)
    return counts

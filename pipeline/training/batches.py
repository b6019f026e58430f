"""Which training images share a batch: plain lists of rows, sampled from a seed.

A new kind is a class here, a line of BATCHES and a block in params.yaml.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from pipeline.data.arrays import Ints
from pipeline.data.label_sets import LabelSets
from pipeline.errors import UserError
from pipeline.options import Count, Section

# A pass is greedy and may fail by chance, where images of several labels exclude each other; so
# many failures in a row mean that there is no such batch.
PASSES_TRIED = 20


class Batches(Section):
    """A kind of batch with its options.

    mined: whether a batch is made of mined triplets, [a1 … an, p1 … pn, n1 … nn].
    """

    mined: ClassVar[bool] = False

    @property
    def images(self) -> int:
        """How many images one batch has."""
        raise NotImplementedError

    @property
    def anchor_count(self) -> int | None:
        """How many images of a batch, its first ones, are anchors; None: all."""
        return None

    def passes(
        self, labels: LabelSets, triplets: Ints | None, rng: np.random.Generator, /
    ) -> Iterator[list[Ints]]:
        """Yield the batches of one pass over the data after another, as `sample_batches` does."""
        raise NotImplementedError


class PKBatches(Batches):
    """P `classes` of K images. An image is in a batch once, unless its class has fewer than K."""

    classes: Count
    per_class: Count

    @property
    def images(self) -> int:
        return self.classes * self.per_class

    def passes(
        self, labels: LabelSets, _triplets: Ints | None, rng: np.random.Generator, /
    ) -> Iterator[list[Ints]]:
        by_class = _rows_by_class(labels)
        self._require(by_class)
        most = _most_batches(by_class, classes=self.classes, per_class=self.per_class)
        while True:
            sampled: list[Ints] = []
            failed = 0
            while len(sampled) < most:
                a_pass = _pk_pass(by_class, classes=self.classes, per_class=self.per_class, rng=rng)
                failed = 0 if a_pass else failed + 1
                if failed == PASSES_TRIED:
                    raise UserError(
                        f"batches.pk: found {self.classes} classes of {self.per_class} images; "
                        "the classes of the train split share too many of their images for such "
                        "a batch; allowed: fewer classes or images, or batches.name random"
                    )
                sampled += a_pass
            yield sampled[:most]

    def _require(self, by_class: list[Ints]) -> None:
        if self.classes > len(by_class):
            raise UserError(
                f"batches.pk.classes: found {self.classes}; the train split has {len(by_class)} "
                f"classes; allowed: at most {len(by_class)}"
            )
        largest = max(len(rows) for rows in by_class)
        if self.per_class > largest:
            raise UserError(
                f"batches.pk.per_class: found {self.per_class}; the largest class of the train "
                f"split has {largest} images; allowed: at most {largest}"
            )


class TripletBatches(Batches):
    """`batch_size` mined triplets, of three images each."""

    mined = True
    batch_size: Count

    @property
    def images(self) -> int:
        return 3 * self.batch_size

    def passes(
        self, _labels: LabelSets, triplets: Ints | None, rng: np.random.Generator, /
    ) -> Iterator[list[Ints]]:
        if triplets is None or len(triplets) < self.batch_size:
            found = 0 if triplets is None else len(triplets)
            raise UserError(
                f"batches.triplets.batch_size: found {self.batch_size}; {found} triplets were "
                f"mined; allowed: at most {found}"
            )
        whole = len(triplets) - len(triplets) % self.batch_size
        while True:
            shuffled = rng.permutation(triplets)[:whole]
            yield [batch.T.reshape(-1) for batch in shuffled.reshape(-1, self.batch_size, 3)]


class RandomBatches(Batches):
    """`batch_size` images of any class. anchors: how many of them, the first ones; None: all."""

    batch_size: Count
    anchors: Count | None

    @property
    def images(self) -> int:
        return self.batch_size

    @property
    def anchor_count(self) -> int | None:
        return self.anchors

    def passes(
        self, labels: LabelSets, _triplets: Ints | None, rng: np.random.Generator, /
    ) -> Iterator[list[Ints]]:
        count = len(labels)
        if count < self.batch_size:
            raise UserError(
                f"batches.random.batch_size: found {self.batch_size}; the train split has {count} "
                f"images; allowed: at most {count}"
            )
        whole = count - count % self.batch_size
        while True:
            yield list(rng.permutation(count)[:whole].reshape(-1, self.batch_size))


BATCHES: dict[str, type[Batches]] = {
    "pk": PKBatches,
    "triplets": TripletBatches,
    "random": RandomBatches,
}


def sample_batches(
    kind: Batches,
    *,
    labels: LabelSets,
    triplets: Ints | None,
    steps: int | None,
    seed: list[int],
) -> list[Ints]:
    """Return the batches of one epoch, each an array of rows of the training images.

    labels: the N label sets of the rows. triplets: int64 [T, 3], rows of anchor, positive and
    negative. steps: how many batches; None: as many as show each image (or triplet) about once,
    in pk once for each of its labels. The same seed gives the same batches.

    Raises:
        UserError: there are too few classes, images or triplets for one batch.
    """
    passes = kind.passes(labels, triplets, np.random.default_rng(seed))
    sampled = next(passes)
    while steps is not None and len(sampled) < steps:
        sampled += next(passes)
    return sampled[:steps]


def _rows_by_class(labels: LabelSets) -> list[Ints]:
    """Return the rows of each label that occurs, ascending; a row is in those of all its labels."""
    rows = np.repeat(np.arange(len(labels)), np.diff(labels.starts))
    _, counts = np.unique(labels.values, return_counts=True)
    by_label = rows[np.argsort(labels.values, kind="stable")]
    return np.split(by_label, np.cumsum(counts)[:-1]) if len(counts) else []


def _most_batches(by_class: list[Ints], *, classes: int, per_class: int) -> int:
    # The most B with sum over classes of min(groups, B) >= P B. Each epoch has as many, though a
    # pass may end earlier where images of several labels exclude each other.
    groups = np.array([max(1, len(rows) // per_class) for rows in by_class])
    most = int(groups.sum()) // classes
    while (fitting := int(np.minimum(groups, most).sum()) // classes) < most:
        most = fitting
    return most


def _pk_pass(
    by_class: list[Ints], *, classes: int, per_class: int, rng: np.random.Generator
) -> list[Ints]:
    # Each class is a shuffled pile of images; a batch takes K from each of the P classes that have
    # most left, so that the last batches do not lack classes.
    piles = [_pile_of(rows, per_class, rng) for rows in by_class]
    left = np.array([len(pile) // per_class for pile in piles])
    batches: list[Ints] = []
    while np.count_nonzero(left) >= classes:
        fullest = np.lexsort((rng.random(len(left)), -left))[: np.count_nonzero(left)]
        taken: dict[int, list[int]] = {}
        in_batch: set[int] = set()
        for c in fullest.tolist():
            group = _take(piles[c], per_class, in_batch)
            if group:
                taken[c] = group
                in_batch.update(group)
            if len(taken) == classes:
                break
        else:
            break  # no P classes have K images each that no other class took
        batches.append(np.array(list(taken.values()), dtype=np.int64).reshape(-1))
        left[list(taken)] -= 1
    rng.shuffle(batches)
    return batches


def _pile_of(rows: Ints, size: int, rng: np.random.Generator) -> list[int]:
    # A class smaller than K is filled up with repeats; the remainder of a larger one is left out
    # of this pass, and the next pass has another order.
    shuffled = rng.permutation(rows)
    if len(rows) < size:
        return np.resize(shuffled, size).tolist()  # type: ignore[no-any-return]
    return shuffled[: len(rows) - len(rows) % size].tolist()  # type: ignore[no-any-return]


def _take(pile: list[int], size: int, in_batch: set[int]) -> list[int]:
    """Take `size` rows off the end of `pile` that are not in `in_batch`; none where too few are."""
    taken: list[int] = []
    skipped: list[int] = []
    while pile and len(taken) < size:
        row = pile.pop()
        (skipped if row in in_batch else taken).append(row)
    if len(taken) < size:
        skipped, taken = taken + skipped, []
    pile.extend(reversed(skipped))
    return taken[::-1]

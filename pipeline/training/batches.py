"""Which training images share a batch: plain lists of rows, sampled from a seed.

A new kind is a class here, a line of BATCHES and a block in params.yaml.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import numpy as np

from pipeline.data.arrays import Ints
from pipeline.data.label_sets import LabelSets
from pipeline.errors import UserError
from pipeline.options import AUTO, AutoCount, Count, Section
from pipeline.training.dealing import Deck, count_batches, deal_classes, expect_appearances

# A batch is filled greedily, which may fail by chance where images of several labels exclude each
# other; so many failures in a row mean that there is no such batch.
BATCHES_TRIED = 20
# Of pk with `auto`: four images of each class, or as many as most classes have; and as many classes
# as have 64 images in all.
MOST_PER_CLASS, MOST_IMAGES = 4, 64


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

    def fit(self, _labels: LabelSets, /) -> Self:
        """Return these options with numbers instead of `auto`, for the label sets of N images."""
        return self

    def find_misfits(self, _labels: LabelSets, /) -> list[str]:
        """Return why no batch can be made of images with these label sets, one line each.

        Without `auto`: see `fit`.
        """
        return []

    def find_too_few(self, _triplets: int, /) -> list[str]:
        """Return why no batch can be made of so many mined triplets: one line or none."""
        return []

    def epochs(
        self, labels: LabelSets, triplets: Ints | None, /, *, steps: int | None, seed: int
    ) -> Iterator[list[Ints]]:
        """Yield the batches of one epoch after another, each an array of rows of training images.

        All epochs have the same number of batches. The same seed gives the same epochs.

        labels: the N label sets of the rows. triplets: int64 [T, 3], rows of anchor, positive and
        negative. steps: how many batches; None: as many as show each image (or triplet) about
        once, in pk once for each of its labels.

        Raises:
            UserError: there are too few classes, images or triplets for one batch.
        """
        for epoch in itertools.count():
            passes = self.passes(labels, triplets, np.random.default_rng([seed, epoch]))
            sampled = next(passes)
            while steps is not None and len(sampled) < steps:
                sampled += next(passes)
            yield sampled[:steps]

    def passes(
        self, labels: LabelSets, triplets: Ints | None, rng: np.random.Generator, /
    ) -> Iterator[list[Ints]]:
        """Yield the batches of one pass over the data after another, each at random."""
        raise NotImplementedError


class PKBatches(Batches):
    """P `classes` of K images. An image is in a batch once, unless its class has fewer than K.

    An epoch has B batches: `steps`, or as few as have as many images as there are. A class is in
    about B min(1, s n) of them, n its images and s the same for all: those of a large class cannot
    be shown as often as others, since it is in a batch once. It deals its images in shuffled
    rounds, which continue in the next epoch. So where images have one label and `steps` is null,
    a class is in min(B, n // K) batches of each epoch or more (n < K: in one), and every image is
    shown within the first E epochs and again in any 2 E, E = max(2, n_max / (K B)) rounded up.
    """

    classes: AutoCount
    per_class: AutoCount

    @property
    def images(self) -> int:
        return self._numbers[0] * self._numbers[1]

    @property
    def _numbers(self) -> tuple[int, int]:
        per_class = MOST_PER_CLASS if self.per_class == AUTO else self.per_class
        return _count_classes(per_class) if self.classes == AUTO else self.classes, per_class

    def fit(self, labels: LabelSets, /) -> Self:
        sizes = np.array([len(rows) for rows in _rows_by_class(labels)])
        per_class = self.per_class
        if per_class == AUTO:
            # Of smaller classes than K, images would stand in a batch twice.
            per_class = int(np.clip(np.median(sizes), 2, min(MOST_PER_CLASS, sizes.max())))
        classes = self.classes
        if classes == AUTO:
            classes = min(_count_classes(per_class), len(sizes))
        return self.model_copy(update={"classes": classes, "per_class": per_class})

    def epochs(
        self, labels: LabelSets, _triplets: Ints | None, /, *, steps: int | None, seed: int
    ) -> Iterator[list[Ints]]:
        if misfits := self.find_misfits(labels):
            raise UserError(*misfits)
        by_class = _rows_by_class(labels)
        classes, per_class = self._numbers
        sizes = np.maximum([len(rows) for rows in by_class], per_class)
        count = steps or count_batches(sizes, classes=classes, per_class=per_class)
        expected = expect_appearances(sizes, classes=classes, batches=count)
        piles = _Piles(by_class, per_class, several_labels=not labels.single)
        for epoch in itertools.count():
            rng = np.random.default_rng([seed, epoch])
            dealt = deal_classes(expected, classes=classes, batches=count, rng=rng)
            yield [self._fill(piles, chosen, rng) for chosen in dealt]

    def _fill(self, piles: "_Piles", chosen: list[int], rng: np.random.Generator) -> Ints:
        """Return a batch of the `chosen` classes; of others, where images are in several."""
        for _ in range(BATCHES_TRIED):
            batch = piles.take(chosen, rng)
            if batch is not None:
                return batch
            chosen = rng.permutation(len(piles.decks))[: len(chosen)].tolist()
        classes, per_class = self._numbers
        raise UserError(
            f"batches.pk: found {classes} classes of {per_class} images; "
            "the classes of the train split share too many of their images for such "
            "a batch; allowed: fewer classes or images, or batches.name random"
        )

    def find_misfits(self, labels: LabelSets, /) -> list[str]:
        by_class, (classes, per_class) = _rows_by_class(labels), self._numbers
        misfits = []
        if classes > len(by_class):
            misfits.append(
                f"batches.pk.classes: found {classes}; the train split has {len(by_class)} "
                f"classes; allowed: auto, or at most {len(by_class)}"
            )
        largest = max((len(rows) for rows in by_class), default=0)
        if by_class and per_class > largest:
            misfits.append(
                f"batches.pk.per_class: found {per_class}; the largest class of the train "
                f"split has {largest} images; allowed: auto, or at most {largest}"
            )
        return misfits


class TripletBatches(Batches):
    """`batch_size` mined triplets, of three images each."""

    mined = True
    batch_size: Count

    def find_too_few(self, triplets: int, /) -> list[str]:
        if triplets >= self.batch_size:
            return []
        return [
            f"batches.triplets.batch_size: found {self.batch_size}; allowed: at most {triplets}, "
            "the number of triplets"
        ]

    @property
    def images(self) -> int:
        return 3 * self.batch_size

    def passes(
        self, _labels: LabelSets, triplets: Ints | None, rng: np.random.Generator, /
    ) -> Iterator[list[Ints]]:
        misfits = self.find_too_few(0 if triplets is None else len(triplets))
        if triplets is None or misfits:
            raise UserError(*misfits)
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

    def find_misfits(self, labels: LabelSets, /) -> list[str]:
        if self.batch_size <= len(labels):
            return []
        return [
            f"batches.random.batch_size: found {self.batch_size}; the train split has "
            f"{len(labels)} images; allowed: at most {len(labels)}"
        ]

    def passes(
        self, labels: LabelSets, _triplets: Ints | None, rng: np.random.Generator, /
    ) -> Iterator[list[Ints]]:
        if misfits := self.find_misfits(labels):
            raise UserError(*misfits)
        count = len(labels)
        whole = count - count % self.batch_size
        while True:
            yield list(rng.permutation(count)[:whole].reshape(-1, self.batch_size))


BATCHES: dict[str, type[Batches]] = {
    "pk": PKBatches,
    "triplets": TripletBatches,
    "random": RandomBatches,
}


def _count_classes(per_class: int) -> int:
    return max(MOST_IMAGES // per_class, 2)


def _rows_by_class(labels: LabelSets) -> list[Ints]:
    """Return the rows of each label that occurs, ascending; a row is in those of all its labels."""
    rows = np.repeat(np.arange(len(labels)), np.diff(labels.starts))
    _, counts = np.unique(labels.values, return_counts=True)
    by_label = rows[np.argsort(labels.values, kind="stable")]
    return np.split(by_label, np.cumsum(counts)[:-1]) if len(counts) else []


class _Piles:
    """The images of each class, as decks that deal `per_class` at a time."""

    def __init__(self, by_class: Sequence[Ints], per_class: int, *, several_labels: bool) -> None:
        self._by_class, self._per_class = by_class, per_class
        self._several_labels = several_labels
        self.decks = [Deck(rows) for rows in by_class]

    def take(self, chosen: list[int], rng: np.random.Generator) -> Ints | None:
        """Return a batch, int64 [P K], class by class; None where there is no such batch.

        chosen: P classes. One without K images that no other class of the batch took is replaced
        by any other class.
        """
        groups: list[list[int]] = []
        in_batch: set[int] = set()
        for c in itertools.chain(chosen, self._others(chosen, rng)):
            group = self._take_group(c, in_batch, rng)
            if group:
                groups.append(group)
                in_batch.update(group)
            if len(groups) == len(chosen):
                return np.array(groups, dtype=np.int64).reshape(-1)
        return None

    def _others(self, chosen: list[int], rng: np.random.Generator) -> Iterator[int]:
        # A generator, since most batches need no other class.
        for c in rng.permutation(len(self.decks)).tolist():
            if c not in chosen:
                yield c

    def _take_group(self, c: int, in_batch: set[int], rng: np.random.Generator) -> list[int]:
        rows, count = self._by_class[c], self._per_class
        if len(rows) >= count:
            without = in_batch if self._several_labels else None
            return self.decks[c].deal(count, rng, without=without)
        if not in_batch.isdisjoint(rows.tolist()):
            return []
        # A class smaller than K is filled up with repeats.
        return np.resize(rng.permutation(rows), count).tolist()  # type: ignore[no-any-return]

"""Which training images stand together in a batch: plain lists of rows, drawn from a seed."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.config.choices import Count, Options
from pipeline.data.arrays import Ints
from pipeline.data.label_sets import LabelSets
from pipeline.errors import UserError

BATCHES: dict[str, Options] = {
    "pk": {"classes": Count, "per_class": Count},
    "triplets": {"size": Count},
    "random": {"size": Count, "anchors": Count | None},
}

# A pass is drawn greedily and may fail by chance, where images of several labels stand in each
# other's way; so many in a row mean that there is no such batch.
PASSES_TRIED = 20


def sample_batches(
    name: str,
    options: dict[str, Any],
    *,
    labels: LabelSets,
    triplets: Ints | None,
    steps: int | None,
    seed: list[int],
) -> list[Ints]:
    """Return the batches of one epoch, each an array of rows into the training images.

    labels: the N label sets of the rows. triplets: int64 [T, 3], rows of anchor, positive and
    negative; a batch of them is [a1 … an, p1 … pn, n1 … nn]. steps: how many batches; None: until
    each image (or triplet) was shown about once, in pk once for each of its labels. The same
    seed gives the same batches.

    A batch of pk has no image twice, but where a class has fewer than K and repeats its own.

    Raises:
        UserError: there are too few classes, images or triplets for one batch.
    """
    rng = np.random.default_rng(seed)
    match name:
        case "pk":
            passes = _pk_passes(labels, **options, rng=rng)
        case "triplets":
            passes = _triplet_passes(triplets, **options, rng=rng)
        case _:
            passes = _random_passes(len(labels), size=options["size"], rng=rng)
    drawn = next(passes)
    while steps is not None and len(drawn) < steps:
        drawn += next(passes)
    return drawn[:steps]


def _pk_passes(
    labels: LabelSets, *, classes: int, per_class: int, rng: np.random.Generator
) -> Iterator[list[Ints]]:
    by_class = _rows_by_class(labels)
    if classes > len(by_class):
        raise UserError(
            f"batches.pk.classes: found {classes}; the training part has {len(by_class)} classes, "
            f"allowed: at most {len(by_class)}"
        )
    largest = max(len(rows) for rows in by_class)
    if per_class > largest:
        raise UserError(
            f"batches.pk.per_class: found {per_class}; the largest training class has "
            f"{largest} images, allowed: at most {largest}"
        )
    most = _most_batches(by_class, classes=classes, per_class=per_class)
    while True:
        drawn: list[Ints] = []
        failed = 0
        while len(drawn) < most:
            a_pass = _pk_pass(by_class, classes=classes, per_class=per_class, rng=rng)
            failed = 0 if a_pass else failed + 1
            if failed == PASSES_TRIED:
                raise UserError(
                    f"batches.pk: found {classes} classes of {per_class} images; the training "
                    "part's classes share too many of their images for such a batch; allowed: "
                    "fewer classes or images, or batches.name random"
                )
            drawn += a_pass
        yield drawn[:most]


def _rows_by_class(labels: LabelSets) -> list[Ints]:
    """Return the rows of each label that occurs, ascending; a row stands under all its labels."""
    rows = np.repeat(np.arange(len(labels)), np.diff(labels.starts))
    _, counts = np.unique(labels.values, return_counts=True)
    by_label = rows[np.argsort(labels.values, kind="stable")]
    return np.split(by_label, np.cumsum(counts)[:-1]) if len(counts) else []


def _most_batches(by_class: list[Ints], *, classes: int, per_class: int) -> int:
    # The most B with sum over classes of min(groups, B) >= P B. An epoch has as many whatever the
    # draw, though a pass ends earlier where images of several labels stand in each other's way.
    groups = np.array([max(1, len(rows) // per_class) for rows in by_class])
    most = int(groups.sum()) // classes
    while (fitting := int(np.minimum(groups, most).sum()) // classes) < most:
        most = fitting
    return most


def _pk_pass(
    by_class: list[Ints], *, classes: int, per_class: int, rng: np.random.Generator
) -> list[Ints]:
    # Each class has its images drawn from a pile; a batch takes K from each of the P classes
    # that have most left, so that large classes are not left over at the end.
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
            break  # no P classes have K images each that are not another's
        batches.append(np.array(list(taken.values()), dtype=np.int64).reshape(-1))
        left[list(taken)] -= 1
    rng.shuffle(batches)
    return batches


def _pile_of(rows: Ints, size: int, rng: np.random.Generator) -> list[int]:
    # A class smaller than K is filled up with repeats; the rest of a larger one waits for the
    # next pass, whose order is another.
    shuffled = rng.permutation(rows)
    if len(rows) < size:
        return np.resize(shuffled, size).tolist()  # type: ignore[no-any-return]
    return shuffled[: len(rows) - len(rows) % size].tolist()  # type: ignore[no-any-return]


def _take(pile: list[int], size: int, in_batch: set[int]) -> list[int]:
    """Take `size` rows off the end of `pile` that are not in `in_batch`; none where too few are."""
    taken: list[int] = []
    passed: list[int] = []
    while pile and len(taken) < size:
        row = pile.pop()
        (passed if row in in_batch else taken).append(row)
    if len(taken) < size:
        passed, taken = taken + passed, []
    pile.extend(reversed(passed))
    return taken[::-1]


def _triplet_passes(
    triplets: Ints | None, *, size: int, rng: np.random.Generator
) -> Iterator[list[Ints]]:
    if triplets is None or len(triplets) < size:
        found = 0 if triplets is None else len(triplets)
        raise UserError(
            f"batches.triplets.size: found {size}; {found} triplets were mined, "
            f"allowed: at most {found}"
        )
    while True:
        shuffled = rng.permutation(triplets)
        whole = len(shuffled) - len(shuffled) % size
        yield [batch.T.reshape(-1) for batch in shuffled[:whole].reshape(-1, size, 3)]


def _random_passes(count: int, *, size: int, rng: np.random.Generator) -> Iterator[list[Ints]]:
    if count < size:
        raise UserError(
            f"batches.random.size: found {size}; the training part has {count} images, "
            f"allowed: at most {count}"
        )
    while True:
        whole = count - count % size
        yield list(rng.permutation(count)[:whole].reshape(-1, size))

"""Which training pictures stand together in a batch: plain lists of rows, drawn from a seed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.choices import Count, Options
from pipeline.errors import UserError

BATCHES: dict[str, Options] = {
    "pk": {"classes": Count, "pictures": Count},
    "triplets": {"size": Count},
    "random": {"size": Count},
}

Rows = NDArray[np.int64]


def draw_batches(
    name: str,
    options: dict[str, Any],
    *,
    labels: NDArray[np.int32],
    triplets: Rows | None,
    steps: int | None,
    seed: list[int],
) -> list[Rows]:
    """Return the batches of one epoch, each an array of rows into the training pictures.

    labels: int32 [N], the label of each row. triplets: int64 [T, 3], rows of anchor, positive and
    negative; a batch of them is [a1 … an, p1 … pn, n1 … nn]. steps: how many batches; None: until
    each picture (or triplet) was shown about once. The same seed gives the same batches.

    Raises:
        UserError: there are too few classes, pictures or triplets for one batch.
    """
    rng = np.random.default_rng(seed)
    match name:
        case "pk":
            passes = _pk_passes(labels, **options, rng=rng)
        case "triplets":
            passes = _triplet_passes(triplets, **options, rng=rng)
        case _:
            passes = _random_passes(len(labels), **options, rng=rng)
    drawn = next(passes)
    while steps is not None and len(drawn) < steps:
        drawn += next(passes)
    return drawn[:steps]


def _pk_passes(
    labels: NDArray[np.int32], *, classes: int, pictures: int, rng: np.random.Generator
) -> Iterator[list[Rows]]:
    present, counts = np.unique(labels, return_counts=True)
    if classes > len(present):
        raise UserError(
            f"batches.pk.classes: found {classes}; the training part has {len(present)} classes, "
            f"allowed: at most {len(present)}"
        )
    if pictures > counts.max():
        raise UserError(
            f"batches.pk.pictures: found {pictures}; the largest training class has "
            f"{counts.max()} pictures, allowed: at most {counts.max()}"
        )
    by_class = [np.flatnonzero(labels == label) for label in present]
    while True:
        yield _pk_pass(by_class, classes=classes, pictures=pictures, rng=rng)


def _pk_pass(
    by_class: list[Rows], *, classes: int, pictures: int, rng: np.random.Generator
) -> list[Rows]:
    # Each class is cut into groups of K; a batch takes one group from the P classes that have
    # most left, so that large classes are not left over at the end.
    groups = [_groups_of(rows, pictures, rng) for rows in by_class]
    left = np.array([len(group) for group in groups])
    batches = []
    while np.count_nonzero(left) >= classes:
        fullest = np.lexsort((rng.random(len(left)), -left))[:classes]
        batches.append(np.concatenate([groups[c][left[c] - 1] for c in fullest]))
        left[fullest] -= 1
    rng.shuffle(batches)
    return batches


def _groups_of(rows: Rows, size: int, rng: np.random.Generator) -> list[Rows]:
    # A class smaller than K is filled up with repeats; the rest of a larger one waits for the
    # next pass, whose order is another.
    shuffled = rng.permutation(rows)
    if len(rows) < size:
        return [np.resize(shuffled, size)]
    whole = len(rows) - len(rows) % size
    return list(shuffled[:whole].reshape(-1, size))


def _triplet_passes(
    triplets: Rows | None, *, size: int, rng: np.random.Generator
) -> Iterator[list[Rows]]:
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


def _random_passes(count: int, *, size: int, rng: np.random.Generator) -> Iterator[list[Rows]]:
    if count < size:
        raise UserError(
            f"batches.random.size: found {size}; the training part has {count} pictures, "
            f"allowed: at most {count}"
        )
    while True:
        whole = count - count % size
        yield list(rng.permutation(count)[:whole].reshape(-1, size))

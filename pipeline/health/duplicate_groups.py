"""Groups of duplicates: images of the same pixels, and images that look the same."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Ints
from pipeline.health.perceptual_hashes import agree_in_colour, count_differing_bits

# Of 64 bits. Of 2,688 photographs of scenes, 6 find nine pairs, all of them copies (a scan in other
# colours, another crop by a few pixels); 8 find one more, in five times the time.
MOST_BITS = 6
BLOCK = 2**20  # pairs whose colours are compared at a time


def group_equal(keys: Sequence[str]) -> Ints:
    """Return int64 [N]: for each of N keys the row of the first that equals it.

    >>> group_equal(["a", "b", "a"]).tolist()
    [0, 1, 0]
    """
    first: dict[str, int] = {}
    return np.array([first.setdefault(key, row) for row, key in enumerate(keys)], np.int64)


def group_alike(
    bits: NDArray[np.uint64], colours: NDArray[np.uint8], *, most_bits: int = MOST_BITS
) -> Ints:
    """Return int64 [N]: for each of N images the row of the first one in its group.

    Two images are alike if their hashes differ in `most_bits` at most and their colours agree. A
    group is connected by such pairs, so that its first and its last may differ more.

    bits: uint64 [N]. colours: uint8 [N, GRID, GRID, 3], both of `hash_image`.
    """
    group = np.arange(len(bits), dtype=np.int64)
    for pairs in _blocks(_near_pairs(bits, most_bits)):
        left, right = pairs[:, group[pairs[0]] != group[pairs[1]]]
        alike = agree_in_colour(colours[left], colours[right])
        group = _join(group, left[alike], right[alike])
    return group


def _near_pairs(bits: NDArray[np.uint64], most_bits: int) -> Iterator[Ints]:
    """Yield int64 [2, P]: rows of the pairs whose hashes differ in `most_bits` at most.

    Each pair is yielded once or more often.

    Of most_bits + 1 parts of the hash, two such hashes have one in common; so only images that are
    beside each other when sorted by a part are compared.
    """
    for part in np.array_split(np.arange(64), most_bits + 1):
        mask = np.uint64(sum(1 << int(bit) for bit in part))
        keys = bits & mask
        order = np.argsort(keys, kind="stable")
        keys, places, distance = keys[order], np.arange(len(bits)), 0
        while len(places):
            distance += 1
            places = places[places < len(bits) - distance]
            places = places[keys[places] == keys[places + distance]]
            pairs = np.stack([order[places], order[places + distance]])
            yield pairs[:, count_differing_bits(*bits[pairs]) <= most_bits]


def _blocks(pairs: Iterator[Ints]) -> Iterator[Ints]:
    """Yield the pairs, BLOCK at a time at most, so that little memory is used for their colours."""
    waiting: list[Ints] = [np.empty((2, 0), np.int64)]
    count = 0
    for some in pairs:
        waiting.append(some)
        count += some.shape[1]
        if count >= BLOCK:
            yield from _cut(waiting)
            waiting, count = waiting[:1], 0
    yield from _cut(waiting)


def _cut(waiting: list[Ints]) -> Iterator[Ints]:
    together = np.concatenate(waiting, axis=1)
    for start in range(0, together.shape[1], BLOCK):
        yield together[:, start : start + BLOCK]


def _join(group: Ints, left: Ints, right: Ints) -> Ints:
    """Return `group` with the groups of each of the pairs as one, named by its first row."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(left):
        return group
    rows = np.arange(len(group))
    ends = (np.concatenate([left, rows]), np.concatenate([right, group]))
    graph = coo_array((np.ones(len(ends[0]), bool), ends), shape=(len(group), len(group)))
    _, component = connected_components(graph, directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    joined: Ints = first[inverse].astype(np.int64)
    return joined

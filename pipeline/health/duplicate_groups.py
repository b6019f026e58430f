"""Groups of duplicates: images of the same pixels, and images that look the same."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Mask
from pipeline.health.perceptual_hashes import agree_in_color

# Of 64 bits. Of 2,688 photographs of scenes, 6 find nine pairs, all of them copies (a scan in other
# colors, another crop by a few pixels); 8 find one more, in five times the time.
MOST_BITS = 6
BLOCK = 2**16  # pairs that are compared at a time
# With how many others an image is compared at first, and then: all. What the first find to be one
# group is not compared further.
REACHES = (8, 64, 2**62)


def group_equal(keys: Sequence[str] | pa.Array) -> Ints:
    """Return int64 [N]: for each of N keys the row of the first that equals it.

    >>> group_equal(["a", "b", "a"]).tolist()
    [0, 1, 0]
    """
    numbers = pa.array(keys, pa.string()).dictionary_encode().indices.to_numpy()
    _, first_rows = np.unique(numbers, return_index=True)
    groups: Ints = first_rows[numbers].astype(np.int64)
    return groups


def group_alike(
    bits: NDArray[np.uint64], colors: NDArray[np.uint8], *, most_bits: int = MOST_BITS
) -> Ints:
    """Return int64 [N]: for each of N images the row of the first one in its group.

    Two images are alike if their hashes differ in `most_bits` at most and their colors agree. A
    group is connected by such pairs, so that its first and its last may differ more.

    Of most_bits + 1 parts of the hash, two such hashes have one in common, so only images with a
    part in common are compared; and of them only those of two groups. After a few comparisons each
    there are hardly any such where nearly all look alike, as those of a fixed camera do; the time
    grows by the square for images with such a part that are in many groups all the same.

    bits: uint64 [N]. colors: uint8 [N, GRID, GRID, 3], both of `hash_image`.
    """
    group = np.arange(len(bits), dtype=np.int64)
    few = colors[:, ::4, ::4].copy()  # cells that tell most images apart, in a tenth of the time
    done: list[np.uint64] = []
    for part in np.array_split(np.arange(64), most_bits + 1):
        mask = np.uint64(sum(1 << int(bit) for bit in part))
        for reach in REACHES:
            for pairs in _pairs_apart(bits & mask, group, reach):
                left, right = pairs[:, _are_new(pairs, bits, group, most_bits=most_bits, done=done)]
                some = agree_in_color(few[left], few[right])
                left, right = left[some], right[some]
                alike = agree_in_color(colors[left], colors[right])
                group = _join(group, left[alike], right[alike])
        done.append(mask)
    return group


def _are_new(
    pairs: Ints,
    bits: NDArray[np.uint64],
    group: Ints,
    *,
    most_bits: int,
    done: Sequence[np.uint64],
) -> Mask:
    """Return bool [P]: whether pairs are near, in two groups, and have no part of `done` in common:
    those that have were compared before."""
    differing = bits[pairs[0]] ^ bits[pairs[1]]
    new: Mask = np.bitwise_count(differing) <= most_bits
    new &= group[pairs[0]] != group[pairs[1]]
    for mask in done:
        new &= differing & mask != 0
    return new


def _pairs_apart(keys: NDArray[np.uint64], group: Ints, reach: int) -> Iterator[Ints]:
    """Yield int64 [2, P], P <= BLOCK: the rows of the pairs of one key and two groups.

    Sorted by key and group, each row is paired with the first `reach` of those after its group.
    """
    order = np.lexsort((group, keys))
    keys, group = keys[order], group[order]
    begins = np.ones(len(keys), bool)  # whether key or group is another than before
    begins[1:] = (keys[1:] != keys[:-1]) | (group[1:] != group[:-1])
    runs = np.cumsum(begins)
    first = np.searchsorted(runs, runs, side="right")  # place of the first after the own group
    count = np.minimum(np.searchsorted(keys, keys, side="right") - first, reach)
    until = np.cumsum(count)  # all pairs in a row, those of each place end here
    shift = first - until + count
    for start in range(0, int(count.sum()), BLOCK):
        pair = np.arange(start, min(start + BLOCK, until[-1]))
        place = np.searchsorted(until, pair, side="right")
        yield np.stack([order[place], order[shift[place] + pair]])


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

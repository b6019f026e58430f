"""Images by the number of labels they share: the compiled loops that find and sample them.

They work on the distinct label sets, of which a large dataset has few (COCO 2014: 25,499 for
122,218 images): all sets are compared with each other, instead of all images.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Labels
from pipeline.data.label_sets import LabelSets

# So many samples find a disjoint image, unless these are rare; then all sets are compared.
MAX_TRIES = 64


class DistinctSets(NamedTuple):
    """The S distinct label sets of N images, and the images that have them.

    of: int32 [N], the set of each image. members: int32 [N], the images by set: set s has
    members[starts[s]:starts[s + 1]], ascending. Set s holds the labels
    labels[label_starts[s]:label_starts[s + 1]], ascending; the sets with label l are
    holders[holder_starts[l]:holder_starts[l + 1]].
    """

    of: Labels
    members: Labels
    starts: Ints
    labels: Labels
    label_starts: Ints
    holders: Labels
    holder_starts: Ints


def find_distinct(labels: LabelSets) -> DistinctSets:
    """Return the distinct sets of `labels`: shorter ones first, then in the order of their labels.

    Labels are renumbered from 0 without gaps.
    """
    _, values = np.unique(labels.values, return_inverse=True)
    lengths = np.diff(labels.starts)
    of = np.empty(len(labels), dtype=np.int32)
    sizes, flat, count = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        sets = values[labels.starts[rows][:, None] + np.arange(length)]  # (n, length)
        distinct, inverse = np.unique(sets, axis=0, return_inverse=True)
        of[rows] = count + inverse.reshape(-1)
        count += len(distinct)
        sizes.append(np.full(len(distinct), length))
        flat.append(distinct.reshape(-1))
    set_labels, per_set = np.concatenate(flat), np.concatenate(sizes)
    return DistinctSets(
        of=of,
        members=np.argsort(of, kind="stable").astype(np.int32),
        starts=_cumulate(np.bincount(of, minlength=count)),
        labels=set_labels.astype(np.int32),
        label_starts=_cumulate(per_set),
        holders=np.repeat(np.arange(count), per_set)[np.argsort(set_labels, kind="stable")].astype(
            np.int32
        ),
        holder_starts=_cumulate(np.bincount(set_labels)),
    )


def _cumulate(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


class Candidates(NamedTuple):
    """The images of some chosen label sets, numbered 0, 1, …; a reusable buffer.

    sets: int32 [S], the first `size[0]` are the chosen sets. ends: int64 [S], the number of images
    of the chosen sets up to each one. gains: int16 [S], the number of labels that every set shares
    with the set or sets in question. gain: int16 [1], the gain of the chosen sets.
    """

    sets: Labels
    ends: Ints
    gains: NDArray[np.int16]
    size: Ints
    gain: NDArray[np.int16]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def make_candidates(count: int) -> Candidates:
    """Return an empty buffer for S = `count` sets."""
    return Candidates(
        np.empty(count, np.int32),
        np.empty(count, np.int64),
        np.zeros(count, np.int16),
        np.zeros(1, np.int64),
        np.zeros(1, np.int16),
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_gains(sets: DistinctSets, s: int, gains: NDArray[np.int16]) -> None:
    """Add to gains[t] the number of labels that the sets s and t share."""
    for i in range(sets.label_starts[s], sets.label_starts[s + 1]):
        label = sets.labels[i]
        for j in range(sets.holder_starts[label], sets.holder_starts[label + 1]):
            gains[sets.holders[j]] += 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def find_most_shared(sets: DistinctSets, s: int, candidates: Candidates) -> int:
    """Choose the sets that share the most labels with s; return that number, 0 for none.

    Set s itself is included if at least two images have it.
    """
    candidates.gains[:] = 0
    add_gains(sets, s, candidates.gains)
    if sets.starts[s + 1] - sets.starts[s] == 1:
        candidates.gains[s] = 0
    most = candidates.gains.max()
    if most > 0:
        _choose(sets, most, candidates)
    return int(most)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def find_least_shared(
    sets: DistinctSets, s: int, t: int, excluded: Ints, candidates: Candidates
) -> int:
    """Choose the sets that share the fewest labels with the union of s and t; return that number.

    -1 if no image is left besides `excluded`.
    """
    candidates.gains[:] = 0
    add_gains(sets, s, candidates.gains)
    if s != t:
        _add_others(sets, s, t, candidates.gains)
    least = candidates.gains.min()
    highest = candidates.gains.max()
    while least <= highest:
        _choose(sets, least, candidates)
        if count_left(sets, candidates, excluded) > 0:
            return int(least)
        least += 1
    return -1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_others(sets: DistinctSets, s: int, t: int, gains: NDArray[np.int16]) -> None:
    """Add the labels of set t that are not in set s."""
    i, end = sets.label_starts[s], sets.label_starts[s + 1]
    for k in range(sets.label_starts[t], sets.label_starts[t + 1]):
        label = sets.labels[k]
        while i < end and sets.labels[i] < label:
            i += 1
        if i == end or sets.labels[i] != label:
            for j in range(sets.holder_starts[label], sets.holder_starts[label + 1]):
                gains[sets.holders[j]] += 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _choose(sets: DistinctSets, gain: int, candidates: Candidates) -> None:
    size, total = 0, 0
    for t in range(len(candidates.gains)):
        if candidates.gains[t] == gain:
            total += sets.starts[t + 1] - sets.starts[t]
            candidates.sets[size], candidates.ends[size] = t, total
            size += 1
    candidates.size[0], candidates.gain[0] = size, gain


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def count_left(sets: DistinctSets, candidates: Candidates, excluded: Ints) -> int:
    """Return the number of candidates besides the images `excluded` (-1 is no image)."""
    if candidates.size[0] == 0:
        return 0
    left = candidates.ends[candidates.size[0] - 1]
    for i in range(len(excluded)):
        if excluded[i] >= 0 and candidates.gains[sets.of[excluded[i]]] == candidates.gain[0]:
            left -= not contains(excluded[:i], excluded[i])
    return int(left)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def contains(images: Ints, image: int) -> bool:
    """Return whether `image` is one of a few `images`."""
    for other in images:  # noqa: SIM110 - numba takes no generator here
        if other == image:
            return True
    return False


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sample_candidate(
    sets: DistinctSets, candidates: Candidates, excluded: Ints, state: NDArray[np.uint64]
) -> int:
    """Return a candidate that is not excluded, all with equal probability; there must be one."""
    while True:
        place = sample_below(state, candidates.ends[candidates.size[0] - 1])
        k = np.searchsorted(candidates.ends[: candidates.size[0]], place, side="right")
        t = candidates.sets[k]
        before = candidates.ends[k - 1] if k else 0
        image = sets.members[sets.starts[t] + place - before]
        if not contains(excluded, image):
            return int(image)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sample_disjoint(
    sets: DistinctSets, s: int, t: int, excluded: Ints, state: NDArray[np.uint64]
) -> int:
    """Return an image without a label of s or t, not excluded; -1 if MAX_TRIES samples fail."""
    for _ in range(MAX_TRIES):
        image = sample_below(state, len(sets.of))
        u = sets.of[image]
        if are_disjoint(sets, s, u) and are_disjoint(sets, t, u) and not contains(excluded, image):
            return int(image)
    return -1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def are_disjoint(sets: DistinctSets, s: int, t: int) -> bool:
    """Return whether the sets s and t share no label."""
    i, j = sets.label_starts[s], sets.label_starts[t]
    while i < sets.label_starts[s + 1] and j < sets.label_starts[t + 1]:
        if sets.labels[i] == sets.labels[j]:
            return False
        if sets.labels[i] < sets.labels[j]:
            i += 1
        else:
            j += 1
    return True


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def seed_stream(seed: int, row: int, state: NDArray[np.uint64]) -> None:
    """Start the random stream of `row`, which is the same in every thread."""
    state[0] = np.uint64(seed)
    state[0] = _next(state) ^ (np.uint64(row) * np.uint64(0xD1342543DE82EF95))
    _next(state)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sample_below(state: NDArray[np.uint64], bound: int) -> int:
    """Return an integer from 0 to bound - 1, all with equal probability (up to 2**-53)."""
    return int((_next(state) >> np.uint64(11)) * 2.0**-53 * bound)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _next(state: NDArray[np.uint64]) -> np.uint64:
    """SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    value: np.uint64 = z ^ (z >> np.uint64(31))
    return value

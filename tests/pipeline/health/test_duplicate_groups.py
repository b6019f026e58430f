"""Groups of duplicates, against comparing every image with every other."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.health import duplicate_groups
from pipeline.health.duplicate_groups import group_alike, group_equal
from pipeline.health.perceptual_hashes import COLOR_TOLERANCE


def group_slowly(alike: list[list[bool]]) -> list[int]:
    """For each image the first that is reached from it by pairs that are alike."""
    groups = []
    for start in range(len(alike)):
        reached, waiting = {start}, [start]
        while waiting:
            row = waiting.pop()
            new = {other for other, near in enumerate(alike[row]) if near} - reached
            reached |= new
            waiting += new
        groups.append(min(reached))
    return groups


@given(st.lists(st.text(max_size=1), max_size=12))
def test_equal_keys_are_one_group(keys: list[str]) -> None:
    assert group_equal(keys).tolist() == [keys.index(key) for key in keys]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),  # which of a few hashes …
            st.lists(st.integers(0, 63), max_size=6),  # … with which bits turned …
            st.integers(0, 2),  # … and which of three shades
        ),
        max_size=14,
    ),
    st.integers(0, 7),
    st.sampled_from([1, 3, 1000]),
    st.sampled_from([0, 1, 2, 1000]),
)
def test_groups_are_connected_by_near_hashes_and_colors(
    images: list[tuple[int, list[int], int]], most_bits: int, block: int, reach: int
) -> None:
    bases = np.random.default_rng(0).integers(0, 2**64, 4, np.uint64).tolist()
    bits = []
    for base, turned, _ in images:
        bits.append(bases[base])
        for bit in turned:
            bits[-1] ^= 1 << bit
    shades = [COLOR_TOLERANCE * shade + (shade == 2) for *_, shade in images]
    alike = [
        [
            (one ^ other).bit_count() <= most_bits and abs(shade - of_other) <= COLOR_TOLERANCE
            for other, of_other in zip(bits, shades, strict=True)
        ]
        for one, shade in zip(bits, shades, strict=True)
    ]
    colors = np.zeros((len(images), 8, 8, 3), np.uint8)
    colors[:, 3, 4, 1] = shades
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicate_groups, "BLOCK", block)
        patch.setattr(duplicate_groups, "REACHES", (reach, 2**62))
        found = group_alike(np.array(bits, np.uint64), colors, most_bits=most_bits)
    assert found.tolist() == group_slowly(alike)


@pytest.mark.parametrize("most_bits", range(1, 9))
def test_hashes_that_differ_in_every_part_but_one_are_found(most_bits: int) -> None:
    one = 0x1234_5678_9ABC_DEF0
    for count, found in ((most_bits, [0, 0]), (most_bits + 1, [0, 1])):
        other = one
        for number in range(count):
            other ^= 1 << (64 * number // count)
        bits, colors = np.array([one, other], np.uint64), np.zeros((2, 8, 8, 3), np.uint8)
        assert group_alike(bits, colors, most_bits=most_bits).tolist() == found


@pytest.mark.long
def test_a_hundred_thousand_images_take_seconds() -> None:
    """Hashes as those of photographs: some bits are set in most of them."""
    rng = np.random.default_rng(0)
    often = rng.uniform(0.2, 0.8, 64)
    bits = np.zeros(100_000, np.uint64)
    for bit, share in enumerate(often):
        bits |= (rng.random(len(bits)) < share).astype(np.uint64) << np.uint64(bit)
    bits[1::1000] = bits[::1000] ^ np.uint64(0b10110)
    started = time.process_time()
    found = group_alike(bits, np.zeros((len(bits), 8, 8, 3), np.uint8))
    assert time.process_time() - started < 30
    assert np.array_equal(found[1::1000], found[::1000])


def make_alike(kind: str, count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Return bits and colors of images that are one group, each like some of the others."""
    rng = np.random.default_rng(0)
    bits = np.full(count, 0x1234_5678_9ABC_DEF0, np.uint64)
    if kind != "copies":  # one or two bits are turned
        for _ in range(2):
            bits ^= np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
    scene = rng.integers(100, 150, (8, 8, 3))
    light = 90 * np.sin(np.arange(count) / 700) if kind == "daylight" else np.zeros(count)
    noise = rng.integers(-5, 6, (count, 8, 8, 3)) if kind != "copies" else 0
    colors = scene + noise + light[:, None, None, None]
    return bits, colors.astype(np.uint8)


@pytest.mark.parametrize("kind", ["copies", "fixed camera", "daylight"])
def test_many_images_that_look_alike_are_one_group_in_seconds(kind: str) -> None:
    bits, colors = make_alike(kind, 16_000)
    started = time.process_time()
    assert set(group_alike(bits, colors).tolist()) == {0}
    assert time.process_time() - started < 5

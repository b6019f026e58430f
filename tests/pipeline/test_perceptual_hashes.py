"""On real photographs: copies stay within few bits, and others are far."""

import io
import math
import statistics

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from pipeline.perceptual_hashes import count_differing_bits, hash_pictures


@pytest.fixture(scope="module")
def pictures() -> dict[str, Image.Image]:
    """The quarters of two photographs, one of a temple and one of a flower."""
    found = {}
    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        whole = Image.fromarray(pixels)
        width, height = whole.width // 2, whole.height // 2
        for x in (0, 1):
            for y in (0, 1):
                box = (x * width, y * height, (x + 1) * width, (y + 1) * height)
                found[f"{name} {x} {y}"] = whole.crop(box)
    return found


def jpeg(picture: Image.Image) -> Image.Image:
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=40)
    return Image.open(encoded)


COPIES = {
    "of the same pixels": lambda picture: picture.copy(),
    "in JPEG of low quality": jpeg,
    "of seven tenths the size": lambda picture: picture.resize(
        (picture.width * 7 // 10, picture.height * 7 // 10)
    ),
    "a little brighter": lambda picture: picture.point(lambda value: min(255, int(value * 1.08))),
    "in grey": lambda picture: picture.convert("L"),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_differs_in_few_bits(pictures: dict[str, Image.Image], how: str) -> None:
    ids = list(pictures)
    copies = {image_id: COPIES[how](picture) for image_id, picture in pictures.items()}
    apart = count_differing_bits(
        hash_pictures(ids, pictures.__getitem__), hash_pictures(ids, copies.__getitem__)
    )
    assert apart.max() <= (0 if how == "of the same pixels" else 6)


def test_other_pictures_differ_in_many_bits(pictures: dict[str, Image.Image]) -> None:
    hashes = hash_pictures(list(pictures), pictures.__getitem__)
    for place in range(1, len(hashes)):
        assert count_differing_bits(hashes[:-place], hashes[place:]).min() > 14


def test_the_bits_are_those_of_the_definition(pictures: dict[str, Image.Image]) -> None:
    ids = [image_id for image_id in pictures if image_id.endswith("0")]
    hashes = hash_pictures(ids, pictures.__getitem__)
    for image_id, found in zip(ids, hashes, strict=True):
        assert int(found) == hash_slowly(pictures[image_id])
        assert f"{int(found):016x}" == str(imagehash.phash(pictures[image_id]))


def hash_slowly(picture: Image.Image) -> int:
    """The lowest 8 x 8 frequencies of 32 x 32 grey pixels, each summed, against their median."""
    small = picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    grey = np.asarray(small, dtype=float)
    waves = [[math.cos(math.pi * k * (2 * n + 1) / 64) for n in range(32)] for k in range(8)]
    strengths = [
        sum(waves[down][y] * waves[across][x] * grey[y][x] for y in range(32) for x in range(32))
        for down in range(8)
        for across in range(8)
    ]
    middle = statistics.median(strengths)
    return int("".join("1" if strength > middle else "0" for strength in strengths), 2)


def test_hashes_stand_in_the_order_that_was_asked(pictures: dict[str, Image.Image]) -> None:
    ids = list(pictures)
    forward, backward = (hash_pictures(each, pictures.__getitem__) for each in (ids, ids[::-1]))
    assert forward.dtype == np.uint64
    assert forward.tolist() == backward[::-1].tolist()
    assert len(set(forward.tolist())) == len(ids)
    assert hash_pictures([], pictures.__getitem__).shape == (0,)


@given(st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 2), max_size=5))
def test_differing_bits_are_counted(pairs: list[tuple[int, int]]) -> None:
    left, right = (np.array([pair[side] for pair in pairs], np.uint64) for side in (0, 1))
    expected = [(one ^ other).bit_count() for one, other in pairs]
    assert count_differing_bits(left, right).tolist() == expected

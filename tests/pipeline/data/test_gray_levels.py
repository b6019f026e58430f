"""More than 8 bits of gray are scaled by what is in use, and are neither black nor clipped."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import gray_levels
from pipeline.data.decoding import decode
from pipeline.data.gray_levels import to_levels
from tests.helpers.encoded_images import encode

NAN, INFINITE = np.nan, np.inf


@pytest.mark.parametrize(
    ("dtype", "numbers", "levels"),
    [
        (np.uint16, [0, 100, 255], [0, 100, 255]),
        (np.uint16, [0, 256, 1023], [0, 63, 255]),
        (np.uint16, [0, 1024, 2048, 4095], [0, 63, 127, 255]),
        (np.uint16, [0, 4096, 16383], [0, 63, 255]),
        (np.uint16, [256, 16384, 65535], [0, 63, 255]),
        (np.uint16, [0, 3000], [0, 186]),  # 12 bits, of which the brightest is not in use
        (np.int32, [0, 100, 255], [0, 100, 255]),
        (np.int32, [0, 4095], [0, 255]),
        (np.int32, [0, 32768, 65536], [0, 127, 255]),
        (np.int32, [-1000, 0, 1000], [0, 127, 255]),  # a CT scan
        (np.int32, [-(2**31), 2**31 - 1], [0, 255]),
        (np.float32, [0, 0.25, 1], [0, 63, 255]),
        (np.float32, [0.25, 0.5], [63, 127]),
        (np.float32, [0, 255, 510], [0, 127, 255]),
        (np.float32, [-0.5, 0, 0.5], [0, 127, 255]),
        (np.float32, [NAN, 10, 20, INFINITE, -INFINITE], [0, 0, 255, 255, 0]),
        (np.float32, [NAN, NAN], [0, 0]),
        *((dtype, [0, 0], [0, 0]) for dtype in (np.uint16, np.int32, np.float32)),
        (np.float32, [7, 7], [0, 0]),
    ],
)
def test_numbers_become_levels(dtype: type, numbers: list[Any], levels: list[int]) -> None:
    gray: NDArray[Any] = np.array([numbers] * 3, dtype)
    assert to_levels(gray).tolist() == [levels] * 3
    decoded = np.asarray(decode(encode("TIFF", Image.fromarray(gray))))
    assert decoded.tolist() == [[[level] * 3 for level in levels]] * 3


def test_strips_have_the_levels_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    gray = np.random.default_rng(0).normal(0, 1, (7, 5)).astype(np.float32)
    whole = to_levels(gray)
    monkeypatch.setattr(gray_levels, "STRIP_PIXELS", 11)
    assert np.array_equal(to_levels(gray), whole)

"""The portable functions against those of the standard library, and the same bits everywhere."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.products import portable

angles = st.floats(-1e5, 1e5)
coordinates = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(angles)
def test_sines_and_cosines(x: float) -> None:
    assert portable.sin(x) == pytest.approx(math.sin(x), rel=0, abs=1e-11)
    assert portable.cos(x) == pytest.approx(math.cos(x), rel=0, abs=1e-11)


@given(st.floats(-7, 7))
def test_sines_and_cosines_of_a_turn_are_right_to_the_last_bits(x: float) -> None:
    assert portable.sin(x) == pytest.approx(math.sin(x), rel=0, abs=1e-15)
    assert portable.cos(x) == pytest.approx(math.cos(x), rel=0, abs=1e-15)


@given(st.floats(-600, 600))
def test_exponentials(x: float) -> None:
    assert portable.exp(x) == pytest.approx(math.exp(x), rel=1e-15)


@given(st.floats(1e-300, 1e300))
def test_logarithms(x: float) -> None:
    assert portable.log(x) == pytest.approx(math.log(x), rel=1e-14, abs=1e-15)


@given(st.floats(0, 100), st.floats(0, 100))
def test_powers(x: float, y: float) -> None:
    assert portable.power(x, y) == pytest.approx(math.pow(x, y), rel=1e-12, abs=1e-290)


@given(coordinates, coordinates)
def test_angles_and_lengths(y: float, x: float) -> None:
    expected = math.atan2(y, x) if (x, y) != (0, 0) else 0.0
    assert abs(portable.arctan2(y, x) - expected) == pytest.approx(0, abs=1e-15) or (
        y == 0 and abs(portable.arctan2(y, x)) == pytest.approx(math.pi)
    )
    assert portable.hypot(x, y) == pytest.approx(math.hypot(x, y), rel=1e-15)


def test_they_take_arrays_of_any_shape() -> None:
    x = np.linspace(0.1, 3, 6, dtype=np.float32).reshape(2, 3)
    for function in (portable.exp, portable.log, portable.sin, portable.cos):
        assert function(x).shape == (2, 3)
    assert portable.arctan2(x, x).shape == portable.power(x, 2.5).shape == (2, 3)


def test_the_bits_are_those_of_every_other_computer() -> None:
    x = np.random.default_rng(7).uniform(0, 40, 100_000)  # uniform numbers are exact everywhere
    found = [
        *(f(x) for f in (portable.sin, portable.cos, portable.log)),
        portable.exp(-x),
        portable.power(x, x / 20),
        portable.arctan2(x - 20, x[::-1] - 20),
        portable.hypot(x, x[::-1]),
    ]
    assert hashlib.sha256(np.concatenate(found).tobytes()).hexdigest()[:16] == "18c25a48ca0c3a02"


def test_products_inverses_and_lengths() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        matrix, points, many = rng.normal(size=(3, 3)), rng.normal(size=(3, 5)), rng.normal(size=3)
        assert portable.product(matrix, points) == pytest.approx(matrix @ points)
        assert portable.product(matrix, many) == pytest.approx(matrix @ many)
        assert portable.inverse(matrix) == pytest.approx(np.linalg.inv(matrix))
        assert portable.length(points.T) == pytest.approx(np.linalg.norm(points.T, axis=1))

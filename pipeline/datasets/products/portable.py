"""Functions of numbers whose last bit is the same on every processor.

numpy has several versions of sin, exp, power and the like, one for each instruction set, and they
differ in the last bit; so do the products of BLAS. Here they are made of what IEEE 754 fixes: sums,
products, quotients, roots and rounding, one numpy call each, in float64. The error is below 1e-15
of the result (of the largest value, for sin and cos), far below what float32 keeps.

Each takes numbers or arrays and returns float64 in their shape; of a number, a number.
"""

from fractions import Fraction
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pipeline.data.arrays import Floats

# Constants in two parts, the first with zeros at its end, so that its products with small whole
# numbers are exact (Cody and Waite 1980).
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
HALF_PI_HIGH, HALF_PI_LOW = 1.5707963267341256, 6.077100506506192e-11
TAN_PI_8 = 0.41421356237309503

EXP = [1 / factorial(n) for n in range(14)]
SIN = [(-1) ** n / factorial(2 * n + 1) for n in range(9)]
COS = [(-1) ** n / factorial(2 * n) for n in range(9)]
ARCTAN = [float(Fraction((-1) ** n, 2 * n + 1)) for n in range(21)]
LOG = [float(Fraction(2, 2 * n + 1)) for n in range(11)]


def exp(x: ArrayLike) -> Any:
    """Return e ** x, for |x| up to 700: 2 ** n times the Taylor series of what is left."""
    x = np.asarray(x, np.float64)
    n = np.rint(x / (LN2_HIGH + LN2_LOW))
    rest = (x - n * LN2_HIGH) - n * LN2_LOW
    return np.ldexp(_polynomial(EXP, rest), n.astype(np.int64))


def log(x: ArrayLike) -> Any:
    """Return the natural logarithm of x > 0: that of its exponent, and a series of its mantissa."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    small = mantissa < np.sqrt(0.5)
    mantissa = np.where(small, mantissa * 2, mantissa)
    n = (exponent - small).astype(np.float64)
    s = (mantissa - 1) / (mantissa + 1)
    return n * LN2_HIGH + (s * _polynomial(LOG, s * s) + n * LN2_LOW)


def power(x: ArrayLike, y: ArrayLike) -> Any:
    """Return x ** y, for x >= 0 and y >= 0, or x > 0."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    found = exp(y * log(np.where(x > 0, x, 1)))
    return np.where(x > 0, found, np.where(y > 0, 0.0, 1.0))[()]


def sin(x: ArrayLike) -> Any:
    """Return the sine of x in radians, for |x| up to 1e5."""
    return _sin_of_quarters(np.asarray(x, np.float64), 0)


def cos(x: ArrayLike) -> Any:
    """Return the cosine of x in radians, for |x| up to 1e5."""
    return _sin_of_quarters(np.asarray(x, np.float64), 1)


def arctan2(y: ArrayLike, x: ArrayLike) -> Any:
    """Return the angle of the point (x, y), from -pi to pi; 0 for the origin."""
    y, x = np.asarray(y, np.float64), np.asarray(x, np.float64)
    high, wide = np.abs(y), np.abs(x)
    larger = np.maximum(high, wide)
    t = np.minimum(high, wide) / np.where(larger > 0, larger, 1)
    far = t > TAN_PI_8
    t = np.where(far, (t - 1) / (t + 1), t)
    angle = t * _polynomial(ARCTAN, t * t) + np.where(far, np.pi / 4, 0.0)
    angle = np.where(high > wide, np.pi / 2 - angle, angle)
    angle = np.where(x < 0, np.pi - angle, angle)
    return np.where(y < 0, -angle, angle)[()]


def hypot(x: ArrayLike, y: ArrayLike) -> Any:
    """Return the length of (x, y), for values whose squares float64 holds."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.sqrt(x * x + y * y)


def _sin_of_quarters(x: Floats, quarters: int) -> Any:
    """Return sin(x + quarters * pi / 2)."""
    n = np.rint(x / (HALF_PI_HIGH + HALF_PI_LOW))
    rest = (x - n * HALF_PI_HIGH) - n * HALF_PI_LOW
    square = rest * rest
    quadrant = np.mod(n.astype(np.int64) + quarters, 4)
    value = np.where(quadrant % 2 == 0, rest * _polynomial(SIN, square), _polynomial(COS, square))
    return np.where(quadrant < 2, value, -value)[()]


def _polynomial(coefficients: list[float], x: Floats) -> Floats:
    """Return the sum of coefficients[n] x ** n, by Horner's rule."""
    value = np.full(x.shape, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def length(vector: ArrayLike) -> Floats:
    """Return the Euclidean length of vectors along their last axis, of length 2 or 3."""
    parts = np.moveaxis(np.asarray(vector, np.float64), -1, 0)
    found: Floats = np.sqrt(_sum_in_order(parts * parts))
    return found


def product(left: ArrayLike, right: ArrayLike) -> Floats:
    """Return the matrix product of (..., 3) and (3, ...), its three terms summed in order."""
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    tail = (1,) * (right.ndim - 1)
    return _sum_in_order(
        [left[..., n].reshape(left.shape[:-1] + tail) * right[n] for n in range(3)]
    )


def inverse(matrix: ArrayLike) -> Floats:
    """Return the inverse of a matrix (3, 3): its adjugate over its determinant."""
    a, b, c = np.asarray(matrix, np.float64)
    columns = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1)
    return columns / product(a, columns[:, 0])


def _cross(left: Floats, right: Floats) -> Floats:
    x, y, z = left
    u, v, w = right
    return np.array([y * w - z * v, z * u - x * w, x * v - y * u])


def _sum_in_order(terms: Floats | list[Floats]) -> Floats:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total

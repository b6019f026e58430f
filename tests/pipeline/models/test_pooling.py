"""Pooling against its formula."""

import pytest
import torch

from pipeline.models.pooling import GeMPooling


def test_gem_is_its_formula() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, -4.0]]]])
    expected = ((1.0**3 + 2.0**3 + 3.0**3 + 1e-18) / 4) ** (1 / 3)
    assert GeMPooling()(x).item() == pytest.approx(expected)
    assert GeMPooling(p=1.0)(x.abs()).item() == pytest.approx(2.5)
    assert GeMPooling(p=60.0)(x.abs()).item() == pytest.approx(4.0, rel=0.03)


def test_gem_learns_its_p() -> None:
    pool = GeMPooling()
    pool(torch.rand(2, 3, 4, 4)).sum().backward()
    assert pool.p.grad is not None
    assert torch.isfinite(pool.p.grad)

"""Heads: trained layers, or none, from the pooled features to the embedding."""

from collections.abc import Callable

from torch import nn


def _build_linear(feature_dim: int, dim: int, _hidden: int) -> nn.Module:
    return nn.Linear(feature_dim, dim)


def _build_mlp(feature_dim: int, dim: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(feature_dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))


def _build_identity(_feature_dim: int, _dim: int, _hidden: int) -> nn.Module:
    return nn.Identity()


# (feature_dim, dim, hidden) -> a module [B, feature_dim] -> [B, dim]; "none" keeps feature_dim.
HEADS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "linear": _build_linear,
    "mlp": _build_mlp,
    "none": _build_identity,
}

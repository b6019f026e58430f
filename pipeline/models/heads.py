"""Heads: trained layers, or none, from the pooled features to the embedding.

A new head is one class here, one line of HEADS and its name in `HeadParams` of the schema.
"""

from dataclasses import asdict, dataclass, fields

from pydantic import ConfigDict
from torch import nn

from pipeline.options import Width


@dataclass(frozen=True)
class HeadSpec:
    """A head as model.json names it; an option that the head does not use is null."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str = "none"
    dim: Width | None = None
    hidden: Width | None = None


@dataclass(frozen=True)
class Head:
    """A head with its options: its fields, each a key of `head:` in params.yaml and of HeadSpec.

    One without `dim` gives embeddings of the features' size.
    """

    def build(self, feature_dim: int, /) -> nn.Module:
        """Return the layers: features [B, feature_dim] to embeddings [B, dim]."""
        raise NotImplementedError


@dataclass(frozen=True)
class LinearHead(Head):
    dim: int

    def build(self, feature_dim: int, /) -> nn.Module:
        return nn.Linear(feature_dim, self.dim)


@dataclass(frozen=True)
class MLPHead(Head):
    dim: int
    hidden: int

    def build(self, feature_dim: int, /) -> nn.Module:
        return nn.Sequential(
            nn.Linear(feature_dim, self.hidden), nn.ReLU(), nn.Linear(self.hidden, self.dim)
        )


@dataclass(frozen=True)
class NoHead(Head):
    def build(self, _: int, /) -> nn.Module:
        return nn.Identity()


HEADS: dict[str, type[Head]] = {"linear": LinearHead, "mlp": MLPHead, "none": NoHead}


def make_head(spec: HeadSpec) -> Head:
    """Return the head of this name, with those of the options that it has."""
    head = HEADS[spec.name]
    return head(**{field.name: getattr(spec, field.name) for field in fields(head)})


def used_options(spec: HeadSpec) -> HeadSpec:
    """Return `spec` with null for each option that its head does not have."""
    return HeadSpec(spec.name, **asdict(make_head(spec)))

"""Every miner against its definition, by loops over a batch."""

import math
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.config.load import read_yaml
from pipeline.training.miners import MINERS, Miner
from tests.helpers.paths import ROOT

PARAMS = ROOT / "params.yaml"
KINDS = ["all", "hard", "semihard", "easy"]
cases = given(classes=st.integers(2, 5), images=st.integers(2, 4), seed=st.integers(0, 999))
few = settings(max_examples=15, deadline=None)

Triplets = list[tuple[int, int, int]]
Pairs = list[tuple[int, int]]


def make_batch(classes: int, images: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(images)
    centers = torch.randn(classes, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), 4, generator=generator, dtype=torch.float64)
    return centers[labels] + noise, labels


@cache
def all_options() -> dict[str, dict[str, Any]]:
    return dict(read_yaml(PARAMS)["miner"])


def mine(
    name: str, batch: tuple[Tensor, Tensor], *, normalize: bool = True, **changes: Any
) -> tuple[Tensor, ...]:
    miner = MINERS[name](**(all_options()[name] | changes)).build(normalize=normalize)
    assert miner is not None
    indices: tuple[Tensor, ...] = miner(*batch)
    return indices


def triplets_of(indices: tuple[Tensor, ...]) -> Triplets:
    a, p, n = (part.tolist() for part in indices)
    return sorted(zip(a, p, n, strict=True))


def pairs_of(indices: tuple[Tensor, ...]) -> tuple[Pairs, Pairs]:
    a1, p, a2, n = (part.tolist() for part in indices)
    return sorted(zip(a1, p, strict=True)), sorted(zip(a2, n, strict=True))


def distances(embeddings: Tensor, *, normalize: bool = True) -> list[list[float]]:
    rows = embeddings.tolist()
    if normalize:
        rows = [[x / math.hypot(*row) for x in row] for row in rows]
    return [[math.dist(x, y) for y in rows] for x in rows]


def similarities(embeddings: Tensor) -> list[list[float]]:
    return [[1 - d * d / 2 for d in row] for row in distances(embeddings)]


def positives(labels: Tensor, a: int) -> list[int]:
    return [i for i in range(len(labels)) if i != a and labels[i] == labels[a]]


def negatives(labels: Tensor, a: int) -> list[int]:
    return [i for i in range(len(labels)) if labels[i] != labels[a]]


def all_triplets(labels: Tensor) -> Triplets:
    everyone = range(len(labels))
    return [(a, p, n) for a in everyone for p in positives(labels, a) for n in negatives(labels, a)]


def test_none_is_no_miner() -> None:
    assert MINERS["none"]().build(normalize=True) is None


@pytest.mark.parametrize("kind", KINDS)
@few
@cases
def test_triplet_margin_gives_the_triplets_of_its_type(
    kind: str, classes: int, images: int, seed: int
) -> None:
    """By g = d(a,n) - d(a,p): all have g <= margin, of these hard g <= 0, semihard g > 0."""
    embeddings, labels = batch = make_batch(classes, images, seed)
    d, margin = distances(embeddings), 0.2
    belongs = {
        "all": lambda g: g <= margin,
        "hard": lambda g: g <= 0,
        "semihard": lambda g: 0 < g <= margin,
        "easy": lambda g: g > margin,
    }[kind]
    wanted = [(a, p, n) for a, p, n in all_triplets(labels) if belongs(d[a][n] - d[a][p])]
    found = mine("triplet_margin", batch, margin=margin, type_of_triplets=kind)
    assert triplets_of(found) == wanted


@few
@cases
def test_batch_hard_gives_each_anchor_its_farthest_positive_and_nearest_negative(
    classes: int, images: int, seed: int
) -> None:
    embeddings, labels = batch = make_batch(classes, images, seed)
    d = distances(embeddings)
    wanted = [
        (
            a,
            max(positives(labels, a), key=lambda p, a=a: d[a][p]),  # type: ignore[misc]
            min(negatives(labels, a), key=lambda n, a=a: d[a][n]),  # type: ignore[misc]
        )
        for a in range(len(labels))
    ]
    assert triplets_of(mine("batch_hard", batch)) == wanted


@few
@cases
def test_multi_similarity_gives_the_pairs_that_are_hard_against_the_hardest(
    classes: int, images: int, seed: int
) -> None:
    """s_ap - epsilon < max s_an and s_an + epsilon > min s_ap; Wang et al., 2019, section 3.2."""
    embeddings, labels = batch = make_batch(classes, images, seed)
    s, epsilon = similarities(embeddings), 0.1
    near, far = [], []
    for a in range(len(labels)):
        same, other = positives(labels, a), negatives(labels, a)
        near += [(a, p) for p in same if s[a][p] - epsilon < max(s[a][n] for n in other)]
        far += [(a, n) for n in other if s[a][n] + epsilon > min(s[a][p] for p in same)]
    assert pairs_of(mine("multi_similarity", batch, epsilon=epsilon)) == (near, far)


@few
@cases
def test_pair_margin_gives_far_positives_and_near_negatives(
    classes: int, images: int, seed: int
) -> None:
    embeddings, labels = batch = make_batch(classes, images, seed)
    d = distances(embeddings)
    anchors = range(len(labels))
    near = [(a, p) for a in anchors for p in positives(labels, a) if d[a][p] > 0.2]
    far = [(a, n) for a in anchors for n in negatives(labels, a) if d[a][n] < 0.8]
    found = mine("pair_margin", batch, pos_margin=0.2, neg_margin=0.8)
    assert pairs_of(found) == (near, far)


@few
@cases
def test_distance_weighted_gives_true_triplets_with_negatives_below_the_cutoff(
    classes: int, images: int, seed: int
) -> None:
    embeddings, labels = batch = make_batch(classes, images, seed)
    d = distances(embeddings)
    found = triplets_of(mine("distance_weighted", batch))
    assert set(found) <= set(all_triplets(labels))
    assert all(d[a][n] < 1.4 for a, _, n in found)
    reachable = {a for a, _, n in all_triplets(labels) if d[a][n] < 1.4}
    assert {a for a, _, _ in found} == reachable


def test_distance_weighted_samples_negatives_by_the_inverse_of_their_density() -> None:
    """q(d) ~ d^(D-2) (1 - d^2/4)^((D-3)/2), and below the cutoff as at it; Wu et al., 2017."""
    degrees = torch.deg2rad(torch.tensor([0.0, 0.0, 20.0, 60.0], dtype=torch.float64))
    embeddings = torch.stack([degrees.cos(), degrees.sin(), *torch.zeros(2, 4).double()], dim=1)
    labels = torch.tensor([0, 0, 1, 2])

    def weight(distance: float) -> float:
        d = max(distance, 0.5)
        return d**-2 * (1 - d * d / 4) ** -0.5

    wanted = weight(2 * math.sin(math.radians(10))) / (
        weight(2 * math.sin(math.radians(10))) + weight(1.0)
    )
    torch.manual_seed(0)
    sampled = [
        n
        for _ in range(500)
        for _, _, n in triplets_of(mine("distance_weighted", (embeddings, labels)))
    ]
    assert sampled.count(2) / len(sampled) == pytest.approx(wanted, abs=0.04)


@pytest.mark.parametrize("name", ["triplet_margin", "batch_hard", "pair_margin"])
def test_without_normalize_distances_are_taken_as_they_are(name: str) -> None:
    batch = make_batch(4, 3, 0)
    shorter = (batch[0] * 0.1, batch[1])
    by_length = [_as_lists(mine(name, each, normalize=False)) for each in (batch, shorter)]
    by_direction = [_as_lists(mine(name, each)) for each in (batch, shorter)]
    assert by_direction[0] == by_direction[1] != by_length[0]
    if name != "batch_hard":  # which compares distances with each other only
        assert by_length[0] != by_length[1]


def _as_lists(indices: tuple[Tensor, ...]) -> list[list[int]]:
    return [part.tolist() for part in indices]


def test_distance_weighted_measures_on_the_sphere_whatever_the_length() -> None:
    embeddings, labels = make_batch(4, 3, 0)
    torch.manual_seed(0)
    wanted = triplets_of(mine("distance_weighted", (embeddings, labels)))
    torch.manual_seed(0)
    found = triplets_of(mine("distance_weighted", (embeddings * 9, labels), normalize=False))
    assert found == wanted != []


@pytest.mark.parametrize("name", [name for name in MINERS if name != "none"])
def test_a_miner_leaves_no_gradient_behind(name: str) -> None:
    embeddings, labels = make_batch(3, 3, 0)
    for part in mine(name, (embeddings.requires_grad_(), labels)):
        assert part.dtype == torch.int64
        assert not part.requires_grad


def test_a_miner_that_does_not_say_what_it_is_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"^Unnamed: a miner needs `library_class`, which may be"):
        type("Unnamed", (Miner,), {})

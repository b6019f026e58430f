"""Losses on label sets: against plain loops, and against pytorch-metric-learning for one label."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.data.label_sets import from_lists
from pipeline.training.graded_losses import jaccard_relevance, membership
from pipeline.training.losses import LOSSES, EmbeddingSpace, GradedLoss
from tests.helpers.overlay import overlaid

DIM = 5
ON_LABEL_SETS = sorted(name for name, loss in LOSSES.items() if loss.takes_label_sets())
Sets = list[list[int]]
few = settings(max_examples=40, deadline=None)
batches_of_sets = st.lists(
    st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True), min_size=2, max_size=9
)
batches_of_one = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=1), min_size=2)


def relevance_of(sets: Sets) -> Tensor:
    return jaccard_relevance(membership(from_lists(sets)))


def make_embeddings(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, DIM, generator=generator, dtype=torch.float64)


def space(*, normalize: bool) -> EmbeddingSpace:
    return EmbeddingSpace(dim=DIM, classes=4, normalize=normalize)


def chosen(name: str, **changes: Any) -> GradedLoss:
    loss = LOSSES[name](**(overlaid({})["loss"][name] | changes))
    assert isinstance(loss, GradedLoss)
    return loss


def make_loss(name: str, *, normalize: bool = True, **changes: Any) -> nn.Module:
    return chosen(name, **changes).build_graded(space(normalize=normalize))


# --- the oracles: loops over lists of numbers ----------------------------------------------------


def jaccard(one: list[int], other: list[int]) -> float:
    return len(set(one) & set(other)) / len(set(one) | set(other))


def unit(x: list[float]) -> list[float]:
    length = math.sqrt(sum(a * a for a in x))
    return [a / length for a in x]


def supcon(vectors: Tensor, sets: Sets, *, temperature: float) -> float:
    e, everyone = [unit(x) for x in vectors.tolist()], range(len(sets))

    def s(i: int, j: int) -> float:
        return sum(a * b for a, b in zip(e[i], e[j], strict=True)) / temperature

    if len({jaccard(sets[i], sets[j]) for i in everyone for j in everyone if i != j}) == 1:
        return 0.0
    losses = []
    for i in everyone:
        others = [j for j in everyone if j != i]
        weights = {j: jaccard(sets[i], sets[j]) for j in others}
        if not any(weights.values()):
            continue
        whole = math.log(sum(math.exp(s(i, a)) for a in others))
        far = sum(weights[p] * (whole - s(i, p)) for p in others)
        losses.append(far / sum(weights.values()))
    return sum(losses) / len(losses)


def triplet(vectors: Tensor, sets: Sets, *, margin: float, swap: bool) -> float:
    e, total, every = [unit(x) for x in vectors.tolist()], 0.0, 0.0
    for a, p, n in itertools.permutations(range(len(sets)), 3):
        weight = jaccard(sets[a], sets[p]) - jaccard(sets[a], sets[n])
        far = math.dist(e[a], e[n])
        if swap:
            far = min(far, math.dist(e[p], e[n]))
        hinge = math.dist(e[a], e[p]) - far + margin
        if weight > 1e-9 and hinge > 0:
            total, every = total + weight * hinge, every + weight
    return total / every if every else 0.0


# --- the tests -----------------------------------------------------------------------------------


@few
@given(batches_of_sets)
def test_relevance_is_the_jaccard_index_and_no_image_is_relevant_to_itself(sets: Sets) -> None:
    found = relevance_of(sets)
    for i, j in itertools.product(range(len(sets)), repeat=2):
        wanted = jaccard(sets[i], sets[j]) if i != j else 0
        assert found[i, j].item() == pytest.approx(wanted, rel=1e-6)


@few
@given(batches_of_sets, st.integers(0, 999))
def test_supcon_equals_its_formula(sets: Sets, seed: int) -> None:
    vectors = make_embeddings(len(sets), seed)
    found = make_loss("supcon")(vectors, relevance_of(sets)).item()
    assert found == pytest.approx(supcon(vectors, sets, temperature=0.1), rel=1e-5, abs=1e-9)


@few
@given(batches_of_sets, st.integers(0, 999), st.booleans())
def test_triplet_equals_its_formula(sets: Sets, seed: int, swap: bool) -> None:
    vectors = make_embeddings(len(sets), seed)
    found = make_loss("triplet", swap=swap)(vectors, relevance_of(sets)).item()
    assert found == pytest.approx(triplet(vectors, sets, margin=0.1, swap=swap), rel=1e-5, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [("supcon", {}), ("triplet", {}), ("triplet", {"swap": True}), ("triplet", {"margin": 0.0})],
)
@pytest.mark.parametrize("normalize", [True, False])
@few
@given(sets=batches_of_one, seed=st.integers(0, 999))
def test_with_one_label_an_image_it_equals_pytorch_metric_learnings(
    name: str, changes: dict[str, Any], normalize: bool, sets: Sets, seed: int
) -> None:
    ours, theirs = (make_embeddings(len(sets), seed).requires_grad_() for _ in range(2))
    known = chosen(name, **changes).build(space(normalize=normalize))
    wanted = known(theirs, torch.tensor([labels[0] for labels in sets]), None)
    found = make_loss(name, normalize=normalize, **changes)(ours, relevance_of(sets))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6, abs=1e-12)
    found.backward()
    wanted.backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9)


def test_supcon_by_hand() -> None:
    # From the first image: half of the second, a third of the third, none of the fourth.
    relevance = relevance_of([[0, 1], [0], [1, 2], [3]])
    assert relevance[0].tolist() == pytest.approx([0, 1 / 2, 1 / 3, 0])
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 90.0, 180.0], dtype=torch.float64))
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    one = torch.zeros(4, 4)
    one[0] = relevance[0]
    found = make_loss("supcon", temperature=1.0)(vectors, one).item()
    whole = math.log(math.exp(0.5) + 1 + math.exp(-1))
    assert found == pytest.approx((whole - 0.5) * 0.6 + whole * 0.4, abs=1e-6)


@pytest.mark.parametrize("name", ON_LABEL_SETS)
@pytest.mark.parametrize(
    "sets",
    [[[0], [1], [2]], [[0, 1], [0, 1], [0, 1]], [[4]]],
    ids=["nothing in common", "all in common", "alone"],
)
def test_where_all_pairs_are_alike_the_loss_is_zero_with_a_gradient(name: str, sets: Sets) -> None:
    vectors = make_embeddings(len(sets), 0).requires_grad_()
    loss = make_loss(name)(vectors, relevance_of(sets))
    loss.backward()
    assert loss.item() == 0
    assert vectors.grad is not None
    assert vectors.grad.abs().sum() == 0


@pytest.mark.parametrize("name", ON_LABEL_SETS)
@few
@given(sets=batches_of_sets, seed=st.integers(0, 999))
def test_the_gradient_is_finite_even_where_images_repeat(name: str, sets: Sets, seed: int) -> None:
    sets = [*sets, sets[0]]
    vectors = make_embeddings(len(sets), seed).float()
    vectors[-1] = vectors[0]
    vectors.requires_grad_()
    make_loss(name)(vectors, relevance_of(sets)).backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


@pytest.mark.parametrize("name", ON_LABEL_SETS)
def test_a_label_beyond_the_first_changes_the_loss(name: str) -> None:
    vectors, loss = make_embeddings(4, 0), make_loss(name)
    first = loss(vectors, relevance_of([[0], [0], [1], [2]])).item()
    assert loss(vectors, relevance_of([[0, 5], [0], [1, 5], [2]])).item() != first

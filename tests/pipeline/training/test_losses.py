"""Every loss against a slow plain one: loops over lists of numbers, one formula each."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.config.load import read_yaml
from pipeline.training.losses import LOSSES, EmbeddingSpace, GradedLoss, Loss
from tests.helpers.paths import ROOT

Vector = list[float]
Vectors = list[Vector]

PARAMS = ROOT / "params.yaml"
DIM = 5
CLASSIFICATION = [name for name, loss in LOSSES.items() if loss.kind == "classification"]
EUCLIDEAN = {"triplet", "contrastive", "margin"}


@cache
def all_options() -> dict[str, dict[str, Any]]:
    return dict(read_yaml(PARAMS)["loss"])


def default_options(name: str) -> dict[str, Any]:
    return all_options()[name]


def make_loss(name: str, *, classes: int, dim: int = DIM, normalize: bool = True) -> nn.Module:
    torch.manual_seed(classes)
    space = EmbeddingSpace(dim=dim, classes=classes, normalize=normalize)
    return LOSSES[name](**default_options(name)).build(space).double()


def make_batch(*, classes: int, images: int, seed: int) -> tuple[Tensor, Tensor]:
    """A batch [P*K, DIM] grouped by class, as `pk` batches are, neither easy nor hopeless."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(images)
    centers = torch.randn(classes, DIM, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), DIM, generator=generator, dtype=torch.float64)
    return centers[labels] + noise, labels


# --- the oracles -------------------------------------------------------------------------------


def dot(x: Vector, y: Vector) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


def unit(x: Vector) -> Vector:
    return [a / math.sqrt(dot(x, x)) for a in x]


def cosine(x: Vector, y: Vector) -> float:
    return dot(unit(x), unit(y))


def euclidean(x: Vector, y: Vector) -> float:
    return math.dist(unit(x), unit(y))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def log_sum_exp(values: list[float]) -> float:
    most = max(values)
    return most + math.log(sum(math.exp(value - most) for value in values))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def mean_of_positive(values: list[float]) -> float:
    """pytorch-metric-learning's AvgNonZeroReducer: what is satisfied does not count."""
    return mean([value for value in values if value > 0])


def positives(labels: list[int], a: int) -> list[int]:
    return [i for i in range(len(labels)) if i != a and labels[i] == labels[a]]


def negatives(labels: list[int], a: int) -> list[int]:
    return [i for i in range(len(labels)) if labels[i] != labels[a]]


def all_triplets(labels: list[int]) -> list[tuple[int, int, int]]:
    everyone = range(len(labels))
    return [(a, p, n) for a in everyone for p in positives(labels, a) for n in negatives(labels, a)]


def triplet(e: Vectors, y: list[int], o: dict[str, Any], _: Vectors) -> float:
    """max(0, d(a,p) - d(a,n) + margin); Schroff et al., FaceNet, 2015."""
    return mean_of_positive(
        [euclidean(e[a], e[p]) - euclidean(e[a], e[n]) + o["margin"] for a, p, n in all_triplets(y)]
    )


def contrastive(e: Vectors, y: list[int], o: dict[str, Any], _: Vectors) -> float:
    """max(0, d(a,p) - pos_margin) and max(0, neg_margin - d(a,n)); Hadsell et al., 2006."""
    near = [euclidean(e[a], e[p]) for a in range(len(y)) for p in positives(y, a)]
    far = [euclidean(e[a], e[n]) for a in range(len(y)) for n in negatives(y, a)]
    return mean_of_positive([d - o["pos_margin"] for d in near]) + mean_of_positive(
        [o["neg_margin"] - d for d in far]
    )


def supcon(e: Vectors, y: list[int], o: dict[str, Any], _: Vectors) -> float:
    """-mean_p log(exp(s_ap / t) / sum_{i != a} exp(s_ai / t)); Khosla et al., 2020, equation 2."""
    losses = []
    for a in range(len(y)):
        others = [cosine(e[a], e[i]) / o["temperature"] for i in range(len(y)) if i != a]
        whole = log_sum_exp(others)
        losses.append(
            mean([whole - cosine(e[a], e[p]) / o["temperature"] for p in positives(y, a)])
        )
    return mean_of_positive(losses)


def smooth_ap(e: Vectors, y: list[int], o: dict[str, Any], _: Vectors) -> float:
    return mean([one_smooth_ap(e, y, q, o) for q in range(len(y))])


def one_smooth_ap(e: Vectors, y: list[int], q: int, o: dict[str, Any]) -> float:
    """1 - mean_i rank+(i) / rank(i), i = q too; Brown et al., 2020, equation 4 and their code."""

    def rank(i: int, among: list[int]) -> float:
        above = (cosine(e[q], e[j]) - cosine(e[q], e[i]) for j in among if j != i)
        return 1 + sum(sigmoid(by / o["temperature"]) for by in above)

    same = [q, *positives(y, q)]
    return 1 - mean([rank(i, same) / rank(i, list(range(len(y)))) for i in same])


def recall_at_k(e: Vectors, y: list[int], o: dict[str, Any], _: Vectors) -> float:
    return mean([one_recall_at_k(e, y, q, o) for q in range(len(y))])


def one_recall_at_k(e: Vectors, y: list[int], q: int, o: dict[str, Any]) -> float:
    """1 - mean_k min(k, sum_i sigmoid((k - rank(i)) / k)) / min(k, P); Patel et al., 2022,
    equations 6 and 7, and their code."""

    def rank(i: int) -> float:
        others = (j for j in range(len(y)) if j not in (i, q))
        above = (cosine(e[q], e[j]) - cosine(e[q], e[i]) for j in others)
        return 1 + sum(sigmoid(by / o["temperature"]) for by in above)

    same = positives(y, q)
    found = {k: sum(sigmoid((k - rank(i)) / k) for i in same) for k in o["k"]}
    return 1 - mean([min(k, found[k]) / min(k, len(same)) for k in o["k"]])


def multi_similarity(e: Vectors, y: list[int], o: dict[str, Any], _: Vectors) -> float:
    """log(1 + sum_p exp(-alpha (s - base))) / alpha + log(1 + sum_n exp(beta (s - base))) / beta;
    Wang et al., 2019, equation 15."""

    def part(a: int, others: list[int], by: float) -> float:
        terms = [by * (cosine(e[a], e[i]) - o["base"]) for i in others]
        return log_sum_exp([0.0, *terms]) / abs(by)

    return mean(
        [
            part(a, positives(y, a), -o["alpha"]) + part(a, negatives(y, a), o["beta"])
            for a in range(len(y))
        ]
    )


def ntxent(e: Vectors, y: list[int], o: dict[str, Any], _: Vectors) -> float:
    """-log(exp(s_ap / t) / (exp(s_ap / t) + sum_n exp(s_an / t))), a mean over positive pairs;
    Sohn, 2016 and Chen et al., SimCLR, 2020."""
    losses = []
    for a in range(len(y)):
        far = [cosine(e[a], e[n]) / o["temperature"] for n in negatives(y, a)]
        near = [cosine(e[a], e[p]) / o["temperature"] for p in positives(y, a)]
        losses += [log_sum_exp([s, *far]) - s for s in near]
    return mean(losses)


def circle(e: Vectors, y: list[int], o: dict[str, Any], _: Vectors) -> float:
    """log(1 + sum_n exp(g max(0, s + m) (s - m)) sum_p exp(-g max(0, 1 + m - s) (s - 1 + m)));
    Sun et al., 2020, equation 6, with O_p = 1 + m, O_n = -m, D_p = 1 - m, D_n = m."""
    m, gamma, losses = o["m"], o["gamma"], []
    for a in range(len(y)):
        near = [cosine(e[a], e[p]) for p in positives(y, a)]
        far = [cosine(e[a], e[n]) for n in negatives(y, a)]
        of_near = log_sum_exp([-gamma * max(0, 1 + m - s) * (s - 1 + m) for s in near])
        of_far = log_sum_exp([gamma * max(0, s + m) * (s - m) for s in far])
        losses.append(log_sum_exp([0.0, of_near + of_far]))
    return mean_of_positive(losses)


def margin(e: Vectors, y: list[int], o: dict[str, Any], _: Vectors) -> float:
    """max(0, d(a,p) - beta + margin) + max(0, beta - d(a,n) + margin) over triplets, divided by
    how many of these terms are positive; Wu et al., 2017."""
    terms = []
    for a, p, n in all_triplets(y):
        terms.append(euclidean(e[a], e[p]) - o["beta"] + o["margin"])
        terms.append(o["beta"] - euclidean(e[a], e[n]) + o["margin"])
    return mean_of_positive(terms)


def softmax_loss(logits: list[float], label: int) -> float:
    return log_sum_exp(logits) - logits[label]


def arcface(e: Vectors, y: list[int], o: dict[str, Any], w: Vectors) -> float:
    """Softmax of scale cos(theta + margin degrees) at the label; Deng et al., 2019, equation 3."""
    turn, losses = math.radians(o["margin"]), []
    for x, label in zip(e, y, strict=True):
        logits = [o["scale"] * cosine(x, proxy) for proxy in w]
        theta = math.acos(cosine(x, w[label]))
        beyond = theta > math.pi - turn  # where cos would rise again, it continues as a line
        turned = math.cos(theta) - turn * math.sin(turn) if beyond else math.cos(theta + turn)
        logits[label] = o["scale"] * turned
        losses.append(softmax_loss(logits, label))
    return mean(losses)


def cosface(e: Vectors, y: list[int], o: dict[str, Any], w: Vectors) -> float:
    """Softmax of scale (cos - margin at the label); Wang et al., 2018, equation 4."""
    losses = []
    for x, label in zip(e, y, strict=True):
        near = [cosine(x, proxy) - o["margin"] * (c == label) for c, proxy in enumerate(w)]
        losses.append(softmax_loss([o["scale"] * s for s in near], label))
    return mean(losses)


def sub_center_arcface(e: Vectors, y: list[int], o: dict[str, Any], w: Vectors) -> float:
    """ArcFace, where a class has several centers and its cosine is that of the nearest; Deng et
    al., "Sub-center ArcFace", 2020, equation 3."""
    each = o["sub_centers"]

    def nearest(x: Vector) -> Vectors:
        parts = (w[at : at + each] for at in range(0, len(w), each))
        return [max(centers, key=lambda center: cosine(x, center)) for centers in parts]

    return mean([arcface([x], [label], o, nearest(x)) for x, label in zip(e, y, strict=True)])


def proxy_nca(e: Vectors, y: list[int], o: dict[str, Any], w: Vectors) -> float:
    """Softmax of -scale d^2 to the proxies, d Euclidean; Teh et al., ProxyNCA++, 2020, equation 6,
    where 1 / scale is the temperature (1 / 9 in theirs)."""
    losses = []
    for x, label in zip(e, y, strict=True):
        logits = [-o["softmax_scale"] * euclidean(x, proxy) ** 2 for proxy in w]
        losses.append(softmax_loss(logits, label))
    return mean(losses)


def proxy_anchor(e: Vectors, y: list[int], o: dict[str, Any], w: Vectors) -> float:
    """log(1 + sum_x exp(-alpha (s - m))), a mean over the proxies with positives, and
    log(1 + sum_x exp(alpha (s + m))), a mean over all; Kim et al., 2020, equation 4."""

    def part(c: int, *, same: bool) -> float:
        found = [cosine(x, w[c]) for x, label in zip(e, y, strict=True) if (label == c) == same]
        by, shift = (-o["alpha"], -o["margin"]) if same else (o["alpha"], o["margin"])
        return log_sum_exp([0.0, *(by * (s + shift) for s in found)])

    near = sum(part(c, same=True) for c in set(y)) / len(set(y))
    return near + sum(part(c, same=False) for c in range(len(w))) / len(w)


def soft_triple(e: Vectors, y: list[int], o: dict[str, Any], w: Vectors) -> float:
    """Softmax of la (S_c - margin at the label), S_c the similarities to the centres of c, weighted
    by their softmax of s / gamma; Qian et al., 2019, equations 6 and 8."""
    each, losses = o["centers_per_class"], []
    for x, label in zip(e, y, strict=True):
        logits = []
        for c in range(len(w) // each):
            near = [cosine(x, center) for center in w[c * each : (c + 1) * each]]
            weights = [math.exp(s / o["gamma"]) for s in near]
            similar = dot(weights, near) / sum(weights)
            logits.append(o["la"] * (similar - (o["margin"] if c == label else 0)))
        losses.append(softmax_loss(logits, label))
    return mean(losses)


def cross_entropy(e: Vectors, y: list[int], o: dict[str, Any], w: Vectors) -> float:
    """Softmax of (w e + b) / temperature at the label; the last number of each w is its b."""
    return mean(
        [
            softmax_loss([dot([*x, 1.0], row) / o["temperature"] for row in w], label)
            for x, label in zip(e, y, strict=True)
        ]
    )


Oracle = Callable[[Vectors, list[int], dict[str, Any], Vectors], float]
ORACLES: dict[str, Oracle] = {
    "triplet": triplet,
    "contrastive": contrastive,
    "supcon": supcon,
    "smooth_ap": smooth_ap,
    "recall_at_k": recall_at_k,
    "multi_similarity": multi_similarity,
    "ntxent": ntxent,
    "circle": circle,
    "margin": margin,
    "arcface": arcface,
    "cosface": cosface,
    "sub_center_arcface": sub_center_arcface,
    "proxy_nca": proxy_nca,
    "proxy_anchor": proxy_anchor,
    "soft_triple": soft_triple,
    "cross_entropy": cross_entropy,
}


def weights_of(loss: nn.Module) -> Vectors:
    """A row for each class (soft_triple: each centre) of a loss's own weights."""
    rows: Vectors
    match type(loss).__name__:
        case "ArcFaceLoss" | "CosFaceLoss" | "SubCenterArcFaceLoss":
            rows = loss.W.T.tolist()
        case "ProxyAnchorLoss" | "ProxyNCALoss":
            rows = loss.proxies.tolist()
        case "SoftTripleLoss":
            rows = loss.fc.T.tolist()
        case "CrossEntropy":
            line = loss.classifier
            rows = torch.cat([line.weight, line.bias[:, None]], dim=1).tolist()
        case _:
            rows = []
    return rows


# --- the tests ---------------------------------------------------------------------------------


def test_every_loss_has_an_oracle() -> None:
    assert ORACLES.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=12, deadline=None)
@given(classes=st.integers(2, 5), images=st.integers(2, 4), seed=st.integers(0, 999))
def test_a_loss_equals_its_formula(name: str, classes: int, images: int, seed: int) -> None:
    embeddings, labels = make_batch(classes=classes, images=images, seed=seed)
    loss = make_loss(name, classes=classes + 1)  # one class is not in the batch
    found = loss(embeddings, labels, None).item()
    wanted = ORACLES[name](
        embeddings.tolist(), labels.tolist(), default_options(name), weights_of(loss)
    )
    # abs: the learnt beta of `margin` is float32, 5e-8 beside the 1.2 of params.yaml.
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-7)


def on_circle(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_triplet_by_hand() -> None:
    # Two points x degrees apart are 2 sin(x/2) apart. From 0: 1 to the positive, sqrt 2 to the
    # negative, so nothing to do. From 60: 1 to the positive, 2 sin 15 to the negative.
    found = make_loss("triplet", classes=2)(on_circle(0, 60, 90), torch.tensor([0, 0, 1]), None)
    assert found.item() == pytest.approx(1 - 0.517638 + 0.1, abs=1e-6)


def test_contrastive_by_hand() -> None:
    # The positives are 1 apart. Of the negatives only 60 and 70 are nearer than 0.5: 2 sin 5.
    found = make_loss("contrastive", classes=2)(on_circle(0, 60, 70), torch.tensor([0, 0, 1]), None)
    assert found.item() == pytest.approx(1 + (0.5 - 0.174311), abs=1e-6)


def test_cross_entropy_by_hand() -> None:
    loss = make_loss("cross_entropy", classes=2, dim=2)
    loss.classifier.weight.data = torch.eye(2, dtype=torch.float64)
    loss.classifier.bias.data = torch.zeros(2, dtype=torch.float64)
    found = loss(on_circle(0, 0), torch.tensor([0, 1]))  # logits (10, 0): right, then wrong
    assert found.item() == pytest.approx(5 + math.log(1 + math.exp(-10)), abs=1e-9)


def test_smooth_ap_is_zero_where_all_classes_are_apart_for_any_p_and_k() -> None:
    for classes, images in [(2, 6), (6, 2), (3, 3), (16, 4)]:
        labels = torch.arange(classes).repeat_interleave(images)
        apart = torch.eye(classes, dtype=torch.float64)[labels]
        assert make_loss("smooth_ap", classes=classes)(apart, labels).item() < 1e-9


def test_smooth_ap_has_as_queries_images_with_a_positive_or_the_chosen_ones() -> None:
    embeddings, labels = make_batch(classes=4, images=3, seed=0)
    lonely = labels.clone()
    lonely[-3:] = torch.tensor([7, 8, 9])
    loss = make_loss("smooth_ap", classes=4)
    options = default_options("smooth_ap")

    def expected(queries: list[int], y: list[int]) -> float:
        return mean([one_smooth_ap(embeddings.tolist(), y, q, options) for q in queries])

    found = loss(embeddings, lonely).item()
    assert found == pytest.approx(expected(list(range(9)), lonely.tolist()))
    chosen = (torch.tensor([1, 5, 1]),) * 4
    assert loss(embeddings, labels, chosen).item() == pytest.approx(
        expected([1, 5], labels.tolist())
    )
    assert loss(embeddings, torch.arange(12)).item() == 0


def test_smooth_ap_does_not_depend_on_the_order_of_the_batch() -> None:
    embeddings, labels = make_batch(classes=4, images=3, seed=0)
    loss, other = make_loss("smooth_ap", classes=4), torch.randperm(12)
    assert loss(embeddings[other], labels[other]).item() == pytest.approx(
        loss(embeddings, labels).item()
    )


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_finite_and_moves_the_embeddings_even_where_images_repeat(
    name: str,
) -> None:
    embeddings, labels = make_batch(classes=8, images=4, seed=3)
    embeddings[1] = embeddings[0]  # a class smaller than K repeats its images
    embeddings = embeddings.float().requires_grad_()
    loss = make_loss(name, classes=8).float()
    loss(embeddings, labels, None).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    assert embeddings.grad.abs().sum() > 0


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_a_classification_loss_trains_weights_of_its_own(name: str) -> None:
    embeddings, labels = make_batch(classes=4, images=3, seed=1)
    loss = make_loss(name, classes=7)
    loss(embeddings, labels, None).backward()
    weights = list(loss.parameters())
    options = default_options(name)
    centers = options.get("centers_per_class", options.get("sub_centers", 1))
    assert sum(weight.numel() for weight in weights) in {7 * DIM * centers, 7 * (DIM + 1)}
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)


def test_margin_learns_its_beta() -> None:
    assert [name for name, _ in make_loss("margin", classes=3).named_parameters()] == ["beta"]


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - set(CLASSIFICATION)))
def test_without_normalize_only_euclidean_losses_see_the_length(name: str) -> None:
    embeddings, labels = make_batch(classes=3, images=3, seed=2)

    def value(vectors: Tensor, *, normalize: bool) -> float:
        loss = make_loss(name, classes=3, normalize=normalize)
        return float(loss(vectors, labels, None).item())

    assert value(embeddings, normalize=True) == pytest.approx(value(embeddings * 3, normalize=True))
    same = value(embeddings, normalize=False) == pytest.approx(
        value(embeddings * 3, normalize=False)
    )
    assert same == (name not in EUCLIDEAN)


def test_without_normalize_contrastive_takes_distances_as_they_are() -> None:
    loss = make_loss("contrastive", classes=2, dim=2, normalize=False)
    embeddings = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.25]], dtype=torch.float64)
    assert loss(embeddings, torch.tensor([0, 0, 1]), None).item() == pytest.approx(5 + 0.25)


@pytest.mark.parametrize("name", sorted(EUCLIDEAN))
def test_chosen_triplets_are_all_that_a_pair_loss_sees(name: str) -> None:
    embeddings, labels = make_batch(classes=4, images=3, seed=5)
    rows = [0, 1, 6, 3, 4, 9]  # two triplets of these
    chosen = (torch.tensor([0, 3]), torch.tensor([1, 4]), torch.tensor([6, 9]))
    loss = make_loss(name, classes=4)
    moved = embeddings.clone()
    moved[[i for i in range(12) if i not in rows]] += 1
    found = loss(embeddings, labels, chosen)
    assert found.item() == loss(moved, labels, chosen).item() != loss(moved, labels, None).item()


def test_a_loss_that_does_not_say_what_it_is_is_refused_where_it_is_written() -> None:
    no_kind = "^Unkind: a loss needs `kind`: pairs, listwise, classification$"
    with pytest.raises(TypeError, match=no_kind):
        type("Unkind", (Loss,), {"library_class": "CircleLoss"})
    with pytest.raises(TypeError, match=no_kind):
        type("Unkind", (GradedLoss,), {"library_class": "CircleLoss"})
    with pytest.raises(TypeError, match=r"^Unbuilt: a loss needs `library_class` or a `build` of"):
        type("Unbuilt", (Loss,), {"kind": "pairs"})

"""Parameter groups and their rates; learning-rate schedules by hand."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import Optimizer

from pipeline.training.optimizers import OPTIMIZERS, SCHEDULERS, Adam

RATES = {"lr": 0.1, "layer_decay": 1.0, "head_lr": 0.2, "loss_lr": 0.3, "weight_decay": 0.01}


def build(
    name: str = "adamw", *, freeze: bool = False, loss: nn.Module | None = None, **changes: Any
) -> tuple[Optimizer, list[nn.Module]]:
    options = RATES | ({"momentum": 0.9} if name == "sgd" else {}) | changes
    parts = [nn.Linear(4, 3), nn.Linear(3, 2), loss or nn.Linear(2, 5)]
    parts[0].requires_grad_(not freeze)
    chosen = OPTIMIZERS[name](**options)
    return chosen.build(backbone=parts[0], head=parts[1], loss=parts[2]), parts


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_backbone_head_and_loss_have_different_rates(name: str) -> None:
    optimizer, parts = build(name)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2, 0.3]
    for group, part in zip(optimizer.param_groups, parts, strict=True):
        assert [id(weight) for weight in group["params"]] == [id(w) for w in part.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_earlier_layer_has_a_lower_rate(name: str) -> None:
    backbone = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2), nn.Linear(2, 2))
    backbone[0].bias.requires_grad_(False)
    values = RATES | {"layer_decay": 0.5} | ({"momentum": 0.9} if name == "sgd" else {})
    optimizer = OPTIMIZERS[name](**values).build(
        backbone=backbone, head=nn.Linear(2, 2), loss=nn.Identity()
    )
    groups = [(group["lr"], len(group["params"])) for group in optimizer.param_groups]
    assert groups == [(0.1, 2), (0.05, 2), (0.025, 3), (0.2, 2)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_name_chooses_the_optimizer(name: str) -> None:
    assert type(build(name)[0]).__name__.lower() == name


def test_a_rate_that_is_null_is_lr() -> None:
    optimizer, _ = build(head_lr=None, loss_lr=None)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_weights_of_a_loss_are_not_decayed(name: str) -> None:
    optimizer, parts = build(name)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.01, 0.0]
    before = [part.weight.detach().clone() for part in parts]  # type: ignore[union-attr,operator]
    for part in parts:
        for weight in part.parameters():
            weight.grad = torch.zeros_like(weight)
    optimizer.step()
    moved = [not torch.equal(old, part.weight) for old, part in zip(before, parts, strict=True)]  # type: ignore[arg-type]
    assert moved == [True, True, False]


def test_momentum_reaches_sgd() -> None:
    assert [group["momentum"] for group in build("sgd")[0].param_groups] == [0.9, 0.9, 0.9]


def test_frozen_weights_and_losses_without_weights_are_left_out() -> None:
    optimizer, parts = build(freeze=True, loss=nn.Identity())
    assert [group["lr"] for group in optimizer.param_groups] == [0.2]
    assert optimizer.param_groups[0]["params"][0] is parts[1].weight


def test_single_frozen_weights_are_left_out_of_their_group() -> None:
    backbone = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    backbone[1].requires_grad_(False)
    optimizer = Adam(**RATES).build(backbone=backbone, head=nn.Identity(), loss=nn.Identity())
    assert [len(group["params"]) for group in optimizer.param_groups] == [2]


def factors(name: str, *, epochs: int, steps: int, **options: Any) -> list[float]:
    return [at(name, t, epochs=epochs, steps=steps, **options) for t in range(epochs * steps)]


def at(name: str, step: int, *, epochs: int, steps: int, **options: float) -> float:
    return SCHEDULERS[name](**options).factor_at(epochs=epochs, steps=steps)(step)


def test_constant_by_hand() -> None:
    assert factors("constant", epochs=2, steps=2, warmup=0.0) == [1, 1, 1, 1]
    assert factors("constant", epochs=2, steps=4, warmup=1.0) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_cosine_by_hand() -> None:
    # (1 + cos(k pi / 4)) / 2 for k = 0, 1, 2, 3; the fourth would be 0
    wanted = [1, 0.853553, 0.5, 0.146447]
    assert factors("cosine", epochs=2, steps=2, warmup=0.0) == pytest.approx(wanted, abs=1e-6)
    warm = factors("cosine", epochs=3, steps=2, warmup=1.0)
    assert warm == pytest.approx([0.5, 1, *wanted], abs=1e-6)


def test_cosine_ends_at_zero() -> None:
    assert at("cosine", 6, epochs=3, steps=2, warmup=1.0) == pytest.approx(0)


def test_step_by_hand() -> None:
    found = factors("step", epochs=5, steps=2, warmup=0.0, step_size=2.0, gamma=0.1)
    assert found == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
    warm = factors("step", epochs=2, steps=4, warmup=0.5, step_size=1.0, gamma=0.5)
    assert warm == pytest.approx([0.5, 1, 1, 1, 0.5, 0.5, 0.5, 0.5])


@given(
    name=st.sampled_from(sorted(SCHEDULERS)),
    epochs=st.integers(1, 8),
    steps=st.integers(1, 9),
    warmup=st.floats(0, 10),
)
def test_a_rate_rises_through_warm_up_then_never_again_and_stays_within_bounds(
    name: str, epochs: int, steps: int, warmup: float
) -> None:
    options = {"step_size": 1.5, "gamma": 0.3} if name == "step" else {}
    found = factors(name, epochs=epochs, steps=steps, warmup=warmup, **options)
    end = sum(t < warmup * steps for t in range(len(found)))
    assert all(0 < factor <= 1 for factor in found)
    assert found[:end] == sorted(found[:end])
    assert found[end:] == sorted(found[end:], reverse=True)


def test_warm_up_longer_than_training_never_divides_by_zero() -> None:
    assert factors("cosine", epochs=1, steps=2, warmup=4.0) == [0.125, 0.25]
    assert at("cosine", 2, epochs=1, steps=2, warmup=1.0) == 1


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("pretrained", [True, False])
def test_auto_takes_lower_rates_where_the_network_knows_something(
    name: str, pretrained: bool
) -> None:
    momentum = {"momentum": 0.9} if name == "sgd" else {}
    options = OPTIMIZERS[name](**(RATES | momentum | {"lr": "auto", "head_lr": "auto"}))
    fitted = options.fit(pretrained=pretrained)
    expected = {
        "sgd": ((0.003, 0.01), (0.03, 0.03)),
        "adam": ((0.0005, 0.001), (0.002, 0.002)),
        "adamw": ((0.0005, 0.001), (0.002, 0.002)),
    }
    assert (fitted.lr, fitted.head_lr) == expected[name][0 if pretrained else 1]
    assert fitted.loss_lr == 0.3
    given_ = OPTIMIZERS[name](**(RATES | momentum))
    assert given_.fit(pretrained=pretrained) == given_

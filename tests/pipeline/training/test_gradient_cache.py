"""Chunks: the gradient of a whole batch, one chunk's graph at a time."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline.training.gradient_cache import GradientCache
from pipeline.training.losses import LOSSES, EmbeddingSpace
from tests.helpers.overlay import overlaid

SIZE, DIM = 12, 4
LABELS = torch.arange(4).repeat_interleave(3)


def make_network(*further: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), *further, nn.Flatten(), nn.Linear(96, DIM)).double()


def images() -> Tensor:
    return torch.rand(SIZE, 3, 6, 6, generator=torch.Generator().manual_seed(1)).double()


def make_loss(name: str) -> nn.Module:
    torch.manual_seed(2)
    loss = LOSSES[name](**overlaid({})["loss"][name])
    return loss.build(EmbeddingSpace(dim=DIM, classes=4, normalize=False)).double()


def learn(network: nn.Module, loss: Callable[..., Tensor], *, chunk: int) -> tuple[Tensor, Tensor]:
    """Return the loss and the embeddings of one batch; the gradients are then the network's."""
    batch = GradientCache(network, lambda pixels: pixels, images().split(chunk))
    embeddings = batch.embed()
    found = loss(embeddings, LABELS, None)
    found.backward()
    batch.backward(embeddings)
    return found.detach(), embeddings.detach()


def gradients(*modules: nn.Module) -> list[Tensor]:
    weights = [weight for module in modules for weight in module.parameters()]
    assert all(weight.grad is not None for weight in weights)
    return [weight.grad for weight in weights if weight.grad is not None]


@pytest.mark.parametrize("chunk", [1, 5, 11, 12, 100])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_loss_and_gradients_are_those_of_the_whole_batch(name: str, chunk: int) -> None:
    network, whole = make_network(), make_network()
    loss, whole_loss = make_loss(name), make_loss(name)
    expected = whole_loss(whole(images()), LABELS, None)
    expected.backward()
    found, _ = learn(network, loss, chunk=chunk)
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    for of_chunks, of_all in zip(
        gradients(network, loss), gradients(whole, whole_loss), strict=True
    ):
        torch.testing.assert_close(of_chunks, of_all, atol=1e-12, rtol=1e-9)


def test_each_pass_drops_the_same_units() -> None:
    network = make_network(nn.Dropout(0.5))
    direction = nn.Parameter(torch.ones(DIM, dtype=torch.float64))
    torch.manual_seed(3)
    _, embeddings = learn(network, lambda e, *_: (e @ direction).sum(), chunk=5)
    after = torch.rand(1)
    torch.manual_seed(3)
    one_by_one = copy.deepcopy(network)
    one_by_one.zero_grad()
    again = torch.cat([one_by_one(part) for part in images().split(5)])
    (again @ direction).sum().backward()
    assert torch.equal(embeddings, again)
    for of_chunks, of_all in zip(gradients(network), gradients(one_by_one), strict=True):
        torch.testing.assert_close(of_chunks, of_all)
    assert torch.equal(after, torch.rand(1)), "the next random number is a new one"


def test_running_statistics_count_each_image_once() -> None:
    network = make_network(nn.BatchNorm2d(6))
    counted = copy.deepcopy(network)
    for part in images().split(5):
        counted(part)
    learn(network, make_loss("contrastive"), chunk=5)
    for found, expected in zip(network.buffers(), counted.buffers(), strict=True):
        assert torch.equal(found, expected)

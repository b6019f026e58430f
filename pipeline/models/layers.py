"""The layers of a network in order, so that they can be trained at rates of their own or frozen."""

from collections.abc import Iterator
from typing import Any

from torch import nn

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def list_layers(network: nn.Module) -> list[list[nn.Parameter]]:
    """Return the weights of each layer, from the one that sees the image; each weight once.

    A network of timm says itself what its layers are. In another, a layer is a module of a list of
    modules (a convolution, a block), with the norms, biases and tokens that stand after it; modules
    with more than half of all weights are looked into like lists.
    """
    of_timm = next((each for each in network.modules() if hasattr(each, "group_matcher")), None)
    layers = _list_blocks(network) if of_timm is None else _list_by_name(of_timm)
    known = {id(weight) for layer in layers for weight in layer}
    layers[-1] += [weight for weight in network.parameters() if id(weight) not in known]
    return layers


def _list_by_name(network: Any) -> list[list[nn.Parameter]]:
    from timm.models import group_parameters

    number_of = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    layers: list[list[nn.Parameter]] = [[] for _ in range(max(number_of.values()) + 1)]
    for name, weight in network.named_parameters():
        layers[number_of[name]].append(weight)
    return [layer for layer in layers if layer]


def _list_blocks(network: nn.Module) -> list[list[nn.Parameter]]:
    layers: list[list[nn.Parameter]] = [[]]
    begun = False
    for weights, is_layer in _blocks(network, most=_count(list(network.parameters())) // 2):
        if is_layer and begun:
            layers.append([])
        begun = begun or is_layer
        layers[-1] += weights
    return layers


def _blocks(network: nn.Module, *, most: int) -> Iterator[tuple[list[nn.Parameter], bool]]:
    """Yield weights in order, and whether they begin a layer; most: of a module that is a whole."""
    yield list(network.parameters(recurse=False)), False
    for child in network.children():
        weights = list(child.parameters())
        if isinstance(child, LISTS) or (_count(weights) > most and any(child.children())):
            yield from _blocks(child, most=most)
        elif weights:
            yield weights, any(_is_matrix(weight) for weight in weights)


def _count(weights: list[nn.Parameter]) -> int:
    return sum(weight.numel() for weight in weights)


def _is_matrix(weight: nn.Parameter) -> bool:
    return sum(side > 1 for side in weight.shape) > 1

"""What the layers of a network are, for every family of networks."""

import pytest
from torch import nn

from pipeline.models.backbones import build_backbone
from pipeline.models.layers import list_layers
from pipeline.models.torchvision_families import FAMILIES

# The smallest network of each family of torchvision, and how many layers it has: the blocks
# of a residual network or a transformer with what stands before them, convolutions, fire modules, …
LAYERS = {
    "alexnet": 5,
    "convnext_tiny": 1 + 18 + 3,  # a layer that halves the map before each stage but the first
    "densenet121": 1 + 58 + 3,
    "efficientnet_b0": 1 + 16 + 1,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1 + 15 + 1 + 1,
    "googlenet": 3 + 9,
    "inception_v3": 5 + 11,
    "maxvit_t": 2 + 3 + 2,  # two convolutions, stages, and the blocks of the large last stage
    "mnasnet0_5": 3 + 16 + 1,
    "mobilenet_v3_small": 1 + 11 + 1,
    "regnet_y_400mf": 1 + 16,
    "resnet18": 1 + 8,
    "resnext50_32x4d": 1 + 16,
    "shufflenet_v2_x0_5": 1 + 16 + 1,
    "squeezenet1_1": 1 + 8,
    "swin_t": 1 + 12 + 3,
    "vgg11": 8,
    "vit_b_32": 1 + 12,
    "wide_resnet50_2": 1 + 16,
    "timm:resnet18": 1 + 8,
    "timm:tf_efficientnet_lite0": 1 + 16,  # timm counts the last convolution as of the last block
    "timm:vit_tiny_patch16_224": 1 + 12,
    "timm:convnext_atto": 1 + 12 + 1,
}


def test_every_family_is_tested() -> None:
    assert all(any(name.startswith(family) for name in LAYERS) for family in FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_each_weight_is_of_one_layer_and_they_are_in_order(name: str) -> None:
    backbone = build_backbone(name, 224, pooling="avg", level="pool")
    layers = list_layers(backbone)
    number = {id(weight): at for at, layer in enumerate(layers) for weight in layer}
    assert sum(map(len, layers)) == len(number) == len(list(backbone.parameters()))
    assert len(layers) == LAYERS[name]
    with_map = "gem" if backbone.has_map and name.startswith("timm:") else None
    if with_map:
        pooled = list_layers(build_backbone(name, 224, pooling=with_map))
        assert [len(layer) for layer in pooled] == [len(layer) for layer in layers]


def test_norms_and_tokens_are_of_the_layer_before_them() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(nn.init.zeros_(nn.Linear(4, 2).weight))
            self.embed = nn.Linear(4, 4)
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4)) for _ in range(2))
            self.norm = nn.LayerNorm(4)

    network = Tokens()
    names = {id(weight): name for name, weight in network.named_parameters()}
    assert [[names[id(weight)] for weight in layer] for layer in list_layers(network)] == [
        ["token", "embed.weight", "embed.bias"],
        ["blocks.0.0.weight", "blocks.0.0.bias"],
        ["blocks.1.0.weight", "blocks.1.0.bias", "norm.weight", "norm.bias"],
    ]


def test_a_network_of_one_module_has_one_layer() -> None:
    assert [len(layer) for layer in list_layers(nn.Linear(3, 2))] == [2]
    assert list_layers(nn.Identity()) == [[]]

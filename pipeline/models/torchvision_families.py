"""How each family of torchvision's networks is split into trunk and classifier or detector.

A new family is a line of FAMILIES.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

POOL_LEVEL = "pool"  # the coarsest level: every second position of the level below it


@dataclass(frozen=True)
class NetworkFamily:
    """How a network of this family is split.

    Attributes:
        classifier: the modules to remove, whose weights a file may lack; of a detector, the
            modules that propose and classify boxes.
        trunk: the children that make the map [B, C, h, w], in order; empty if the network
            without its classifier gives one vector [B, D] for each image.
        ends_in_relu: the library's forward applies a ReLU to the map (a function, not a child).
        after_pool: the layer norm that the network applies to the pooled features.
        options: image_size -> arguments of the library's builder.
        symmetric: trained on images in [-1, 1] (the library's `transform_input`).
        pyramid: whether it is a detector, whose child `backbone` gives a map for each level.
    """

    classifier: tuple[str, ...]
    trunk: tuple[str, ...] = ()
    ends_in_relu: bool = False
    after_pool: str | None = None
    options: Callable[[int], dict[str, Any]] = lambda _: {}
    symmetric: bool = False
    pyramid: bool = False


RESNET = NetworkFamily(
    ("fc",), ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
)
GOOGLENET = NetworkFamily(
    ("fc", "aux1", "aux2"),
    (
        "conv1",
        "maxpool1",
        "conv2",
        "conv3",
        "maxpool2",
        "inception3a",
        "inception3b",
        "maxpool3",
        "inception4a",
        "inception4b",
        "inception4c",
        "inception4d",
        "inception4e",
        "maxpool4",
        "inception5a",
        "inception5b",
    ),
    options=lambda _: {"aux_logits": False, "init_weights": True},
    symmetric=True,
)
INCEPTION = NetworkFamily(
    ("fc", "AuxLogits"),
    (
        "Conv2d_1a_3x3",
        "Conv2d_2a_3x3",
        "Conv2d_2b_3x3",
        "maxpool1",
        "Conv2d_3b_1x1",
        "Conv2d_4a_3x3",
        "maxpool2",
        "Mixed_5b",
        "Mixed_5c",
        "Mixed_5d",
        "Mixed_6a",
        "Mixed_6b",
        "Mixed_6c",
        "Mixed_6d",
        "Mixed_6e",
        "Mixed_7a",
        "Mixed_7b",
        "Mixed_7c",
    ),
    options=lambda _: {"aux_logits": False, "init_weights": True},
    symmetric=True,
)
MAXVIT = NetworkFamily(
    ("classifier.3", "classifier.5"),
    ("stem", "blocks"),
    after_pool="classifier.2",
    options=lambda image_size: {"input_size": (image_size, image_size)},
)

# By the first letters of the architecture's name.
FAMILIES = {
    "alexnet": NetworkFamily(("classifier",), ("features",)),
    "convnext": NetworkFamily(("classifier.2",), ("features",), after_pool="classifier.0"),
    "densenet": NetworkFamily(("classifier",), ("features",), ends_in_relu=True),
    "efficientnet": NetworkFamily(("classifier",), ("features",)),
    "fasterrcnn": NetworkFamily(
        ("rpn", "roi_heads"),
        # By default the library would download weights for the body.
        options=lambda _: {"weights_backbone": None},
        pyramid=True,
    ),
    "googlenet": GOOGLENET,
    "inception": INCEPTION,
    "maxvit": MAXVIT,
    "mnasnet": NetworkFamily(("classifier",), ("layers",)),
    "mobilenet": NetworkFamily(("classifier",), ("features",)),
    "regnet": NetworkFamily(("fc",), ("stem", "trunk_output")),
    "resnet": RESNET,
    "resnext": RESNET,
    "shufflenet": NetworkFamily(
        ("fc",), ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
    ),
    "squeezenet": NetworkFamily(("classifier",), ("features",)),
    "swin": NetworkFamily(("head",), ("features", "norm", "permute")),
    "vgg": NetworkFamily(("classifier",), ("features",)),
    "vit": NetworkFamily(("heads",), options=lambda image_size: {"image_size": image_size}),
    "wide_resnet": RESNET,
}


def find_family(name: str) -> NetworkFamily:
    """Return the family of torchvision's architecture `name`; KeyError if the table has none."""
    for start, family in FAMILIES.items():
        if name.startswith(start):
            return family
    raise KeyError(name)


def split_classifier(network: nn.Module, family: NetworkFamily) -> tuple[nn.Module, nn.Module]:
    """Return (trunk, the module after pooling) of `network`, both without its classifier."""
    modules = dict(network.named_modules())
    for name in family.classifier:
        if name in modules:
            network.set_submodule(name, nn.Identity())
    if not family.trunk:
        return network, nn.Identity()
    steps: OrderedDict[str, nn.Module] = OrderedDict()
    for name in family.trunk:
        step = network.get_submodule(name)
        steps[name] = nn.Sequential(*step) if isinstance(step, nn.ModuleList) else step
    if family.ends_in_relu:
        steps["last_relu"] = nn.ReLU()
    after_pool = network.get_submodule(family.after_pool) if family.after_pool else nn.Identity()
    return nn.Sequential(steps), after_pool


def list_levels(pyramid: Any) -> list[str]:
    """Return the levels of torchvision's BackboneWithFPN, finest first."""
    return [*pyramid.body.return_layers.values(), POOL_LEVEL]


class PyramidLevel(nn.Module):
    """One level of a detector's feature pyramid: [B, 3, H, W] -> [B, C, h, w].

    The branches of the other levels are removed. They cost time, and training on several
    processes waits for a gradient of every weight.
    """

    def __init__(self, pyramid: Any, level: int | str) -> None:
        """Split BackboneWithFPN; `level` is one of its `list_levels`."""
        super().__init__()
        self.level = level
        self.body, self.fpn = pyramid.body, pyramid.fpn
        # A level is computed from its own map and all coarser ones; "pool" from the coarsest map.
        steps = list(self.body.return_layers.items())
        lowest = min(list_levels(pyramid).index(str(level)), len(steps) - 1)
        self.body.return_layers = dict(steps[lowest:])
        self.fpn.inner_blocks = self.fpn.inner_blocks[lowest:]
        unused = [nn.Identity() for _ in steps[lowest + 1 :]]
        self.fpn.layer_blocks = nn.ModuleList([self.fpn.layer_blocks[lowest], *unused])

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.fpn(self.body(x))[str(self.level)])

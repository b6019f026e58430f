"""What of each family of torchvision's networks is feature, and what classifier or detector."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

POOL = "pool"  # the level above the others: every other place of the coarsest


@dataclass(frozen=True)
class Family:
    """How a network of this family is taken apart.

    Attributes:
        classifier: the modules that are taken off, and whose weights a file may lack; of a
            detector, what proposes and judges boxes.
        trunk: the children that make the map [B, C, h, w], in order; empty where the network
            without its classifier gives one vector [B, D] for each image.
        ends_in_relu: the library's forward applies a ReLU to the map (a function, not a child).
        after_pool: the normalisation of the pooled features that was trained with them.
        options: arguments of the library's builder, of image_size.
        symmetric: trained on images in [-1, 1] (the library's `transform_input`).
        pyramid: a detector, whose child `backbone` gives a map for each level by its name.
    """

    classifier: tuple[str, ...]
    trunk: tuple[str, ...] = ()
    ends_in_relu: bool = False
    after_pool: str | None = None
    options: Callable[[int], dict[str, Any]] = lambda _: {}
    symmetric: bool = False
    pyramid: bool = False


RESNET = Family(
    ("fc",), ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
)
GOOGLENET = Family(
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
INCEPTION = Family(
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
MAXVIT = Family(
    ("classifier.3", "classifier.5"),
    ("stem", "blocks"),
    after_pool="classifier.2",
    options=lambda image_size: {"input_size": (image_size, image_size)},
)

# By the start of the architecture's name.
FAMILIES = {
    "alexnet": Family(("classifier",), ("features",)),
    "convnext": Family(("classifier.2",), ("features",), after_pool="classifier.0"),
    "densenet": Family(("classifier",), ("features",), ends_in_relu=True),
    "efficientnet": Family(("classifier",), ("features",)),
    "fasterrcnn": Family(
        ("rpn", "roi_heads"),
        # The library would fetch a classifier's weights for the body.
        options=lambda _: {"weights_backbone": None},
        pyramid=True,
    ),
    "googlenet": GOOGLENET,
    "inception": INCEPTION,
    "maxvit": MAXVIT,
    "mnasnet": Family(("classifier",), ("layers",)),
    "mobilenet": Family(("classifier",), ("features",)),
    "regnet": Family(("fc",), ("stem", "trunk_output")),
    "resnet": RESNET,
    "resnext": RESNET,
    "shufflenet": Family(("fc",), ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")),
    "squeezenet": Family(("classifier",), ("features",)),
    "swin": Family(("head",), ("features", "norm", "permute")),
    "vgg": Family(("classifier",), ("features",)),
    "vit": Family(("heads",), options=lambda image_size: {"image_size": image_size}),
    "wide_resnet": RESNET,
}


def family_of(name: str) -> Family:
    """Return the family of torchvision's architecture `name`; KeyError if the table has none."""
    for start, family in FAMILIES.items():
        if name.startswith(start):
            return family
    raise KeyError(name)


def cut(network: nn.Module, family: Family) -> tuple[nn.Module, nn.Module]:
    """Return (trunk, what follows the pooling) of `network`, both without its classifier."""
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


def level_names(pyramid: Any) -> list[str]:
    """Return the levels of torchvision's BackboneWithFPN, finest first."""
    return [*pyramid.body.return_layers.values(), POOL]


class PyramidLevel(nn.Module):
    """One level of a detector's feature pyramid: [B, 3, H, W] -> [B, C, h, w].

    The branches of the other levels are taken off. They cost time, and processes that train
    together wait for a gradient of every weight that there is.
    """

    def __init__(self, pyramid: Any, level: int | str) -> None:
        """Take BackboneWithFPN apart; `level` is one of its `level_names`."""
        super().__init__()
        self.level = level
        self.body, self.fpn = pyramid.body, pyramid.fpn
        # A level is its own map and, from above, all that are coarser; "pool" is the coarsest's.
        steps = list(self.body.return_layers.items())
        lowest = min(level_names(pyramid).index(str(level)), len(steps) - 1)
        self.body.return_layers = dict(steps[lowest:])
        self.fpn.inner_blocks = self.fpn.inner_blocks[lowest:]
        unused = [nn.Identity() for _ in steps[lowest + 1 :]]
        self.fpn.layer_blocks = nn.ModuleList([self.fpn.layer_blocks[lowest], *unused])

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.fpn(self.body(x))[str(self.level)])

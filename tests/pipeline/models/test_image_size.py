"""The image size of `auto`: the network's own, or a smaller one for smaller images."""

import numpy as np
import pytest

from pipeline.models.backbones import find_image_size
from pipeline.models.image_size import choose_image_size


@pytest.mark.parametrize(
    ("own", "sides", "size"),
    [
        (224, [(4000, 3000), (256, 256), (640, 480)], 224),
        (224, [(256, 256)], 224),
        (224, [(96, 96)], 96),
        (224, [(28, 28)], 96),
        (224, [(640, 129), (130, 640), (640, 131)], 160),
        (224, [(500, 200), (30, 30), (500, 200)], 224),
        (64, [(500, 200)], 64),
    ],
)
def test_it_is_the_networks_own_or_smaller(
    own: int, sides: list[tuple[int, int]], size: int
) -> None:
    widths, heights = np.array(sides).T
    assert choose_image_size(own, widths=widths, heights=heights) == size


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("timm:tf_efficientnet_lite0", 224),
        ("timm:tf_efficientnet_lite2", 260),
        ("resnet18", 224),
        ("efficientnet_b3", 300),
        ("fasterrcnn_resnet50_fpn", 224),
    ],
)
def test_each_network_has_a_size_of_its_own(name: str, size: int) -> None:
    assert find_image_size(name) == size

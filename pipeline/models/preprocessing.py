"""From an image to a network's input, the same way for every model: Pillow resizes, torch scales.

Images stay bytes until the model takes them: to a GPU, worker processes send a quarter of the size
of floats.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import ConfigDict
from torch import Tensor

from pipeline.options import Positive

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
USUAL_IMAGE_SIZE = 224  # pixels, of networks that name no size

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """The input a network expects: mean and std of RGB in [0, 1], and how images are resized."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    interpolation: str = "bilinear"


def least_side(image_size: int, *, share: float = 1.0) -> int:
    """Return the least width and height, in pixels, at which an image is decoded for a network.

    A large JPEG is decoded faster where it may become smaller, and is then resized as others are.
    At twice the network's size, the network's input is about as sharp (by 2% less), and its pixels
    differ by 1.5 to 2.5 of 255 levels on average; so a query is decoded by the same rule.

    share: the least part of the image's area that is then cut out, at any side ratio from 3/4 to
        4/3.
    """
    return math.ceil(2 * image_size / math.sqrt(share * (1 if share == 1 else 3 / 4)))


def resize_and_crop(image: Image.Image, image_size: int, interpolation: str) -> NDArray[np.uint8]:
    """Return uint8 [image_size, image_size, 3]: the centre square, resized.

    Pillow's filters widen as the image shrinks, so the result is antialiased.
    """
    size = (image_size, image_size)
    # The same as resizing and then cropping, without resizing the margin that is cropped away.
    return np.array(ImageOps.fit(image, size, INTERPOLATIONS[interpolation]))


def resize_and_pad(image: Image.Image, image_size: int, interpolation: str) -> NDArray[np.uint8]:
    """Return uint8 [image_size, image_size, 3]: the whole image, its longer side resized to fit.

    The two free margins are filled with the image reflected at its edge (symmetric padding).
    Networks that are trained on full squares retrieve worse with a squeezed image, and much worse
    with plain bars.
    """
    longer = max(image.size)
    width, height = (max(1, round(side * image_size / longer)) for side in image.size)
    resized = np.array(image.resize((width, height), INTERPOLATIONS[interpolation]))
    free = [image_size - side for side in resized.shape[:2]]
    margins = [(each // 2, each - each // 2) for each in free]
    return np.pad(resized, [*margins, (0, 0)], mode="symmetric")


def normalize_pixels(pixels: Tensor, spec: Preprocessing) -> Tensor:
    """Return float32 [B, 3, H, W] = (pixels / 255 - mean) / std of uint8 [B, 3, H, W].

    The result is on the device of `pixels` and in their memory format.
    """
    mean = torch.tensor(spec.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, device=pixels.device).view(1, 3, 1, 1)
    return (pixels.float() - mean * 255) / (std * 255)

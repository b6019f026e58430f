"""From an image to a network's input, the same way for every model: Pillow resizes, torch scales.

Resizing gives bytes (a quarter of the floats to send between processes), in worker processes;
floats are made on the side of the model.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its images: mean and std of RGB in [0, 1], and how they are resized."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"


def fit(image: Image.Image, image_size: int, interpolation: str) -> NDArray[np.uint8]:
    """Return uint8 [image_size, image_size, 3]: shorter side resized to fit, centre kept.

    Pillow's filters widen with the shrinkage, so the result is antialiased.
    """
    size = (image_size, image_size)
    # One resize of the centre square; the same as resize and crop, without the wasted margin.
    return np.array(ImageOps.fit(image, size, INTERPOLATIONS[interpolation]))


def fit_whole(image: Image.Image, image_size: int, interpolation: str) -> NDArray[np.uint8]:
    """Return uint8 [image_size, image_size, 3]: the longer side resized to fit, nothing cut away.

    What the image leaves free, on two sides, is filled with its mirror image: networks that are
    trained on whole squares find less in a squeezed image, and far less beside plain bars.
    """
    longer = max(image.size)
    width, height = (max(1, round(side * image_size / longer)) for side in image.size)
    fitted = np.array(image.resize((width, height), INTERPOLATIONS[interpolation]))
    free = [image_size - side for side in fitted.shape[:2]]
    margins = [(each // 2, each - each // 2) for each in free]
    return np.pad(fitted, [*margins, (0, 0)], mode="symmetric")


def normalize(pixels: Tensor, spec: Preprocessing) -> Tensor:
    """Return float32 [B, 3, H, W] = (pixels / 255 - mean) / std of uint8 [B, 3, H, W].

    The result is where `pixels` is, in its memory format.
    """
    mean = torch.tensor(spec.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, device=pixels.device).view(1, 3, 1, 1)
    return (pixels.float() - mean * 255) / (std * 255)

"""The seed of each image alone decides how training shows it."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.schema import AugmentParams
from pipeline.data.packed_images import PackedImages
from pipeline.errors import UserError
from pipeline.training.augmentation import TrainingImages, build_augmentation
from tests.helpers.packer import Packer

AUGMENT = AugmentParams(crop=[0.3, 1.0], hflip=0.5, jitter=[0.4, 0.4, 0.4, 0.1])


@pytest.fixture
def images(tmp_path: Path) -> TrainingImages:
    writer = Packer(tmp_path / "images")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    for number, each in enumerate(pixels):
        encoded = io.BytesIO()
        Image.fromarray(each).save(encoded, "PNG")
        writer.add(str(number), encoded.getvalue())
    writer.close()
    augmentation = build_augmentation(AUGMENT, image_size=24, interpolation="bilinear")
    packed = PackedImages(tmp_path / "images")
    return TrainingImages(packed, ["0", "1", "2"], np.array([5, 6, 7]), augmentation, side=48)


def test_the_seed_alone_decides_what_is_shown(images: TrainingImages) -> None:
    """It seeds torch on the CPU, as `torch.manual_seed` does on all devices."""
    shown = [images[row, 11 * row] for row in range(3)]
    assert [target for _, target in shown] == [5, 6, 7]
    for row, (image, _) in reversed(list(enumerate(shown))):
        torch.manual_seed(11 * row)
        expected = images.augmentation(images.images.decode(str(row)))
        assert np.array_equal(image, np.array(expected))
        assert not np.array_equal(image, images[row, 11 * row + 1][0])


def test_other_random_numbers_are_not_disturbed(images: TrainingImages) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    numbers = [torch.rand(2)]
    images[0, 9]
    images.image_ids = ["0", "not there", "2"]
    with pytest.raises(UserError):
        images[1, 9]
    numbers.append(torch.rand(2))
    assert torch.equal(torch.cat(numbers), expected)

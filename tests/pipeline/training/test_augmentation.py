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

AUGMENT = AugmentParams(
    crop=[0.3, 1.0], hflip=0.5, jitter=[0.4, 0.4, 0.4, 0.1], rand_augment=[2, 9], erase=0.5
)
PLAIN = AugmentParams(crop=None, hflip=0.0, jitter=None, rand_augment=None, erase=0.0)


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


def test_a_rectangle_is_erased_as_often_as_asked() -> None:
    """Of 2 to 33% of the area."""
    image = Image.new("RGB", (50, 50), "white")
    torch.manual_seed(0)
    erase = build_augmentation(
        PLAIN.model_copy(update={"erase": 0.3}), image_size=50, interpolation="bilinear"
    )
    shares = [(np.array(erase(image)) == 0).all(axis=2).mean() for _ in range(400)]
    erased = [share for share in shares if share > 0]
    assert 0.23 < len(erased) / len(shares) < 0.37
    assert 0.015 < min(erased) < 0.1 < 0.25 < max(erased) < 0.34


def test_rand_augment_changes_an_image_more_where_it_is_stronger() -> None:
    gradient = np.linspace(0, 255, 40 * 40 * 3).reshape(40, 40, 3).astype(np.uint8)
    means = []
    for strength in (1, 15, 30):
        options = {"rand_augment": [2, strength]}
        augmentation = build_augmentation(
            PLAIN.model_copy(update=options), image_size=40, interpolation="bilinear"
        )
        torch.manual_seed(0)
        changed = [np.array(augmentation(Image.fromarray(gradient))) for _ in range(60)]
        assert all(each.shape == gradient.shape for each in changed)
        means.append(np.mean([np.abs(each - gradient.astype(float)).mean() for each in changed]))
    assert means == sorted(means)
    assert means[0] < means[2] / 2

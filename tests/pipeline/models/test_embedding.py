"""Embedding many images: the same bits however the work is shared out."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.shards import PackedImages, ShardWriter
from pipeline.errors import UserError
from pipeline.models import devices, embedder
from pipeline.models.embedding import embed
from pipeline.models.preprocessing import Preprocessing, fit, normalize


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> PackedImages:
    directory = tmp_path_factory.mktemp("images")
    writer = ShardWriter(directory)
    random = np.random.default_rng(0)
    for number in range(10):
        encoded = io.BytesIO()
        shape = (40 + number, 50, 3)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(encoded, "PNG")
        writer.add(f"p{number}", encoded.getvalue())
    writer.close()
    return PackedImages(directory)


@pytest.fixture(scope="module")
def model() -> embedder.Embedder:
    return embedder.build_baseline(
        "shufflenet_v2_x0_5", image_size=32, pooling="avg", weights=None, seed=1
    )


def vectors(
    model: embedder.Embedder, images: PackedImages, ids: list[str], **options: Any
) -> np.ndarray:
    return embed(
        model,
        images,
        ids,
        batch_size=4,
        precision=torch.float32,
        device=torch.device("cpu"),
        **({"workers": 0} | options),
    )


def test_the_bits_do_not_depend_on_the_number_of_workers(model, images) -> None:
    alone = vectors(model, images, images.ids, workers=0)
    shared = vectors(model, images, images.ids, workers=2)
    assert alone.dtype == np.float32
    assert alone.shape == (10, 1024)
    assert np.array_equal(alone, shared)


def test_each_row_is_the_embedding_of_its_own_image(model, images) -> None:
    ids = ["p7", "p2", "p9", "p0", "p1"]
    found = vectors(model, images, ids)
    for row, image_id in enumerate(ids):
        pixels = torch.tensor(fit(images.decode(image_id), 32, "bilinear"))
        x = normalize(pixels.permute(2, 0, 1)[None], model.spec)
        with torch.inference_mode():
            expected = model(x)[0].numpy()
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unit", [True, False])
def test_mirrored_it_is_the_mean_of_an_image_and_its_mirror_image(unit, images) -> None:
    model = embedder.build_baseline(
        "squeezenet1_0", image_size=64, pooling="flatten", weights=None, seed=1
    )
    model = embedder.attach_head(model, name="linear", dim=8, hidden=8, normalize=unit, seed=2)
    found = vectors(model, images, ["p3"], hflip=True)[0]
    pixels = torch.tensor(fit(images.decode("p3"), 64, "bilinear"))
    x = normalize(pixels.permute(2, 0, 1)[None], model.spec)
    with torch.inference_mode():
        both = torch.cat([model.eval()(x), model(x.flip(3))])
    expected = both.mean(dim=0).numpy()
    if unit:
        expected /= np.linalg.norm(expected)
    assert not np.allclose(both[0], both[1], atol=1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_embedding_leaves_every_module_in_its_mode(model, images) -> None:
    model.train()
    model.backbone.eval()
    vectors(model, images, ["p0"])
    assert model.training
    assert not model.backbone.training
    model.eval()


def test_an_unknown_image_is_named(model, images) -> None:
    with pytest.raises(UserError, match="1 image_ids have no image, the first is 'p99'"):
        vectors(model, images, ["p1", "p99"])


def test_an_image_is_fitted_by_its_shorter_side_and_centre() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert np.array_equal(fit(Image.fromarray(wide), 10, "bilinear"), wide[:, 10:20])
    assert fit(Image.fromarray(wide), 7, "bicubic").shape == (7, 7, 3)


def test_pixels_are_scaled_by_mean_and_std() -> None:
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    found = normalize(pixels, Preprocessing((0.5, 0.25, 0.0), (0.5, 0.25, 0.1)))
    expected = [(0 - 0.5) / 0.5, (128 / 255 - 0.25) / 0.25, 1 / 0.1]
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))


def test_precision_auto_is_bf16_only_where_the_hardware_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    for capabilities, expected in (
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx2": True}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda held=capabilities: held)
        assert devices.resolve_precision("auto", cpu) == expected
    assert devices.resolve_precision("fp32", cpu) == torch.float32
    assert devices.resolve_precision("bf16", cpu) == torch.bfloat16

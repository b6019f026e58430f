"""Embedding many images: the same bits with any number of threads and workers."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.packed_images import PackedImages
from pipeline.errors import UserError
from pipeline.models import embed_images as embed_images_module
from pipeline.models.embed_images import embed_groups, embed_images
from pipeline.models.embedder import Embedder, attach_head, build_baseline
from pipeline.models.preprocessing import normalize_pixels, resize_and_crop
from tests.helpers.packer import Packer


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> PackedImages:
    directory = tmp_path_factory.mktemp("images")
    writer = Packer(directory)
    random = np.random.default_rng(0)
    for number in range(10):
        encoded = io.BytesIO()
        shape = (40 + number, 50, 3)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(encoded, "PNG")
        writer.add(f"p{number}", encoded.getvalue())
    writer.close()
    return PackedImages(directory)


@pytest.fixture(scope="module")
def model() -> Embedder:
    return build_baseline("shufflenet_v2_x0_5", image_size=32, pooling="avg", weights=None, seed=1)


def vectors(model: Embedder, images: PackedImages, ids: list[str], **options: Any) -> np.ndarray:
    return embed_images(
        model,
        images,
        ids,
        precision=torch.float32,
        device=torch.device("cpu"),
        **({"workers": 0, "batch_size": 4} | options),
    )


def test_the_bits_do_not_depend_on_the_number_of_threads(model, images) -> None:
    alone = vectors(model, images, images.ids, threads=1)
    shared = vectors(model, images, images.ids, threads=3)
    assert alone.dtype == np.float32
    assert alone.shape == (10, 1024)
    assert np.array_equal(alone, shared)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_bits_do_not_depend_on_how_many_images_a_worker_decodes_at_a_time(
    model, images, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a GPU, on the processor."""
    whole = vectors(model, images, images.ids)
    monkeypatch.setattr(embed_images_module, "DECODED", 3)  # parts of 3 and 1, 3 and 1, 2

    def by_processes(*of: Any) -> Iterator[np.ndarray]:
        return embed_images_module._by_processes(*of[:3], workers, "embed", torch.device("cpu"))

    monkeypatch.setattr(embed_images_module, "embed_by_threads", by_processes)
    assert np.array_equal(vectors(model, images, images.ids), whole)


def test_many_images_are_embedded_in_parts_of_a_size_that_the_caches_hold(model, images) -> None:
    many = images.ids * 20  # of 32 x 32 pixels
    found = vectors(model, images, many, batch_size=1000, threads=2)
    parts = [vectors(model, images, part, batch_size=144) for part in (many[:144], many[144:])]
    assert np.array_equal(found, np.concatenate(parts))


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Torch with three threads; tests have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_torch_has_one_thread_while_it_embeds_and_then_its_own_again(
    model, images, monkeypatch
) -> None:
    seen: list[int] = []

    def look(image: Image.Image, *of: Any) -> np.ndarray:
        seen.append(torch.get_num_threads())
        return resize_and_crop(image, *of)

    def fail(*_: object) -> np.ndarray:
        raise RuntimeError("of this test")

    monkeypatch.setattr(embed_images_module, "resize_and_crop", look)
    vectors(model, images, images.ids, threads=2)
    assert (set(seen), torch.get_num_threads()) == ({1}, 3)
    monkeypatch.setattr(embed_images_module, "resize_and_crop", fail)
    with pytest.raises(RuntimeError, match="of this test"):
        vectors(model, images, images.ids, threads=2)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_what_is_left_half_read_leaves_torch_and_the_model_as_they_were(model, images) -> None:
    model.train()
    options = {"precision": torch.float32, "device": torch.device("cpu"), "workers": 0}
    half = embed_groups(model, images, [images.ids, images.ids], batch_size=4, **options)
    next(half)
    half.close()  # type: ignore[attr-defined] - a generator
    assert torch.get_num_threads() == 3
    assert model.training
    model.eval()


def test_each_row_is_the_embedding_of_its_own_image(model, images) -> None:
    ids = ["p7", "p2", "p9", "p0", "p1"]
    found = vectors(model, images, ids)
    for row, image_id in enumerate(ids):
        pixels = torch.tensor(resize_and_crop(images.decode(image_id), 32, "bilinear"))
        x = normalize_pixels(pixels.permute(2, 0, 1)[None], model.spec)
        with torch.inference_mode():
            expected = model(x)[0].numpy()
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unit", [True, False])
def test_with_hflip_it_is_the_mean_of_an_image_and_its_horizontal_flip(unit, images) -> None:
    model = build_baseline("squeezenet1_0", image_size=64, pooling="flatten", weights=None, seed=1)
    model = attach_head(model, name="linear", dim=8, hidden=8, normalize=unit, seed=2)
    found = vectors(model, images, ["p3"], hflip=True)[0]
    pixels = torch.tensor(resize_and_crop(images.decode("p3"), 64, "bilinear"))
    x = normalize_pixels(pixels.permute(2, 0, 1)[None], model.spec)
    with torch.inference_mode():
        both = torch.cat([model.eval()(x), model(x.flip(3))])
    expected = both.mean(dim=0).numpy()
    if unit:
        expected /= np.linalg.norm(expected)
    assert not np.allclose(both[0], both[1], atol=1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_every_module_keeps_its_mode(model, images) -> None:
    model.train()
    model.backbone.eval()
    vectors(model, images, ["p0"])
    assert model.training
    assert not model.backbone.training
    model.eval()


def test_the_error_names_an_unknown_image(model, images) -> None:
    with pytest.raises(UserError, match="1 image_ids have no image, the first is 'p99'"):
        vectors(model, images, ["p1", "p99"])

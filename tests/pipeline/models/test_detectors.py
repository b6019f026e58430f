"""A detector's feature pyramid as a backbone: every level equals that of the library."""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models import torchvision_library
from pipeline.models.backbones import build_backbone, find_preprocessing
from pipeline.models.embedder import attach_head, build_baseline, load_embedder, save_embedder
from pipeline.models.torchvision_families import PyramidLevel

pytestmark = pytest.mark.slow

NAME = "fasterrcnn_resnet50_fpn"
SMALL = "fasterrcnn_mobilenet_v3_large_320_fpn"
LEVELS = {
    NAME: (0, 1, 2, 3, "pool"),
    "fasterrcnn_resnet50_fpn_v2": (0, 1, 2, 3, "pool"),
    "fasterrcnn_mobilenet_v3_large_fpn": (0, 1, "pool"),
    SMALL: (0, 1, "pool"),
}
DOWNLOAD = "torchvision.models._api.load_state_dict_from_url"


def build_detector(name: str, *, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torchvision_library.build_network(name, 64).eval()


def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", LEVELS)
def test_each_level_equals_the_librarys_and_uses_all_its_weights(name: str) -> None:
    whole = build_detector(name, seed=3).get_submodule("backbone")
    with torch.inference_mode():
        expected = whole(images())
    assert list(expected) == [str(level) for level in LEVELS[name]]
    for level in LEVELS[name]:
        cut = PyramidLevel(deepcopy(whole), level)
        found = cut(images())
        assert torch.equal(found, expected[str(level)])
        found.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in cut.parameters())


@pytest.mark.parametrize(
    ("pooling", "level", "features"),
    [("flatten", "pool", 256 * 4 * 4), ("flatten", 3, 256 * 7 * 7), ("avg", 0, 256)],
)
def test_the_number_of_features_follows_from_level_and_pooling(
    pooling: str, level: int | str, features: int
) -> None:
    assert build_backbone(NAME, 224, pooling=pooling, level=level).feature_dim == features


def test_an_embedder_gives_the_flattened_map_and_is_loaded_with_the_same_bits(
    tmp_path: Path,
) -> None:
    baseline = build_baseline(NAME, image_size=64, pooling="flatten", level=3, weights=None, seed=3)
    plain = attach_head(baseline, name="none", dim=0, hidden=0, normalize=False, seed=0)
    model = attach_head(baseline, name="linear", dim=8, hidden=0, normalize=True, seed=2)
    save_embedder(model.eval(), tmp_path)
    loaded = load_embedder(tmp_path)
    assert loaded.spec == model.spec
    assert json.loads((tmp_path / "model.json").read_text())["level"] == 3
    with torch.inference_mode():
        level = build_detector(NAME, seed=3).get_submodule("backbone")(images())["3"]
        assert torch.equal(plain.eval()(images()), level.flatten(1))
        assert torch.equal(loaded(images()), model(images()))
    loaded(images()).square()[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in loaded.head.parameters())


def test_a_network_without_a_pyramid_has_no_level() -> None:
    model = build_baseline("resnet18", image_size=32, pooling="avg", level=2, weights=None, seed=1)
    assert model.spec.level is None


def published(name: str) -> dict[str, Tensor]:
    """Return weights as published: old names, frozen norms, variances smaller than an eps."""
    generator = torch.Generator().manual_seed(1)
    network = build_detector(name, seed=4)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.num_features
            module.running_var.copy_(10 ** -(4 + 3 * torch.rand(size, generator=generator)))
            gain = 0.5 + torch.rand(size, generator=generator)
            module.weight.data = gain * module.running_var.sqrt()
    state = dict(network.state_dict())
    if name.endswith("_v2"):
        return state
    state = {key: value for key, value in state.items() if not key.endswith("batches_tracked")}
    return {re.sub(r"(_blocks\.\d)\.0\.", r"\1.", key): value for key, value in state.items()}


@pytest.mark.parametrize("name", LEVELS)
def test_published_weights_give_the_maps_of_the_library(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = published(name)
    monkeypatch.setattr(DOWNLOAD, lambda *_, **__: dict(state))
    network = torchvision.models.get_model(name, weights="DEFAULT").eval()
    backbone = build_backbone(name, 64, pooling="avg", level=0, weights="imagenet")
    with torch.inference_mode():
        expected = network.backbone(images())["0"]
        found = backbone(images())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {k: v for k, v in state.items() if k.startswith("backbone.")},
        lambda state: {"model": state | {"roi_heads.box_predictor.cls_score.bias": torch.ones(3)}},
    ],
    ids=["whole", "pyramid", "three classes"],
)
def test_a_file_of_the_whole_detector_or_of_its_pyramid_fits(tmp_path: Path, wrap) -> None:
    network = build_detector(SMALL, seed=4)
    torch.save(wrap(dict(network.state_dict())), tmp_path / "w.pt")
    backbone = build_backbone(
        SMALL, 64, pooling="flatten", level="pool", weights=tmp_path / "w.pt", seed=9
    )
    with torch.inference_mode():
        expected = network.get_submodule("backbone")(images())["pool"]
        assert torch.equal(backbone(images()), expected)


def test_building_depends_on_the_seed_and_downloads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr(DOWNLOAD, fail)
    first, again, other = (
        build_backbone(SMALL, 32, pooling="avg", level=0, seed=seed).state_dict()
        for seed in (7, 7, 8)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", [NAME, SMALL])
def test_images_get_the_mean_and_std_of_the_detector(name: str) -> None:
    transform = build_detector(name, seed=0).get_submodule("transform")
    assert find_preprocessing(name).mean == tuple(transform.image_mean)
    assert find_preprocessing(name).std == tuple(transform.image_std)


def test_weights_of_a_classifier_are_refused(tmp_path: Path) -> None:
    shapes = torchvision.models.resnet50().state_dict()
    path = tmp_path / "resnet50.pt"
    torch.save({key: torch.zeros(()).expand(value.shape) for key, value in shapes.items()}, path)
    with pytest.raises(UserError) as caught:
        build_backbone(NAME, 64, pooling="avg", level=0, weights=path)
    expected = build_detector(NAME, seed=0).get_submodule("backbone").state_dict()
    missing = len([key for key in expected if not key.endswith("num_batches_tracked")])
    assert str(caught.value) == (
        f"backbone.weights: {path} into {NAME}: the weights do not fit: {missing} missing "
        "(backbone.body.conv1.weight, backbone.body.bn1.weight, backbone.body.bn1.bias, …); "
        f"{len(shapes)} unexpected (conv1.weight, bn1.weight, bn1.bias, …); "
        "they are of another architecture"
    )


@pytest.mark.parametrize("level", [2, None])
def test_a_level_that_the_pyramid_lacks_is_refused(level: int | None) -> None:
    with pytest.raises(UserError) as caught:
        build_backbone(SMALL, 64, pooling="avg", level=level)
    assert str(caught.value) == (
        f"backbone.level: found '{level}'; {SMALL} has no such level; allowed: 0, 1, pool"
    )


def test_the_error_for_an_unknown_name_lists_the_detectors() -> None:
    with pytest.raises(UserError) as caught:
        build_backbone("fasterrcnn_resnet50", 64, pooling="avg")
    assert f", {', '.join(sorted(LEVELS))}, googlenet, " in str(caught.value)
    assert str(caught.value).endswith(f"; did you mean '{NAME}'?")

"""Every family of networks gives features of the stated size, without its classifier."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models.regnet import BlockParams

from pipeline.errors import UserError
from pipeline.models import timm_library, torchvision_library
from pipeline.models.backbones import Backbone, build_backbone, find_preprocessing
from pipeline.models.embedder import build_baseline
from pipeline.models.torchvision_families import find_family, split_classifier

WIDTHS = BlockParams.from_init_params
NAMES = torchvision.models.list_models(module=torchvision.models)
# name, image size, feature_dim: the families that are not in LAST_LAYERS
FAMILIES = [
    ("alexnet", 64, 256),
    ("efficientnet_b0", 32, 1280),
    ("mnasnet0_5", 32, 1280),
    ("mobilenet_v2", 32, 1280),
    ("mobilenet_v3_small", 32, 576),
    ("resnet18", 32, 512),
    ("resnext50_32x4d", 32, 2048),
    ("squeezenet1_1", 32, 512),
    ("swin_t", 32, 768),
    ("swin_v2_t", 32, 768),
    ("vgg11", 32, 512),
    ("timm:resnet10t", 32, 512),
    ("timm:vit_tiny_patch16_224", 32, 192),
    ("timm:convnext_atto", 32, 320),
]


@pytest.mark.parametrize(("name", "size", "features"), FAMILIES)
def test_a_network_of_each_family_gives_one_vector_for_each_image(
    name: str, size: int, features: int
) -> None:
    model = build_baseline(name, image_size=size, pooling="avg", weights=None, seed=3)
    with torch.inference_mode():
        found = model(torch.rand(2, 3, size, size))
    assert found.shape == (2, features)
    assert found.dtype == torch.float32
    assert model.dim == features
    assert not any(1000 in parameter.shape for parameter in model.parameters())


def widths_on_the_cpu(**options: object) -> BlockParams:
    """Compute RegNet's widths, which are tensors, on a device that has values."""
    with torch.device("cpu"):
        return WIDTHS(**options)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_classification_network_of_torchvision_loses_its_classifier(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BlockParams, "from_init_params", widths_on_the_cpu)
    family = find_family(name)
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None, **family.options(224))
        whole = len(network.state_dict())
        trunk, after_pool = split_classifier(network, family)
        size = 96 if family.trunk and not name.startswith("maxvit") else 224
        found = trunk.eval()(torch.empty(1, 3, size, size))
    assert found.ndim == (4 if family.trunk else 2)
    kept = len(trunk.state_dict()) + len(after_pool.state_dict())
    assert 0 < kept < whole
    assert not any(tuple(p.shape)[:1] == (1000,) for p in trunk.parameters())


# name, image size, the first layer of the classifier
LAST_LAYERS = [
    ("convnext_tiny", 64, "classifier.2"),
    ("densenet121", 64, "classifier"),
    ("googlenet", 64, "fc"),
    ("inception_v3", 80, "fc"),
    ("maxvit_t", 224, "classifier.3"),
    ("resnet18", 64, "fc"),
    ("shufflenet_v2_x0_5", 64, "fc"),
    ("regnet_y_400mf", 64, "fc"),
    ("swin_t", 64, "head"),
    ("vit_b_32", 64, "heads"),
]


@pytest.mark.parametrize(("name", "size", "classifier"), LAST_LAYERS)
def test_features_are_what_the_library_gives_its_classifier(
    name: str, size: int, classifier: str
) -> None:
    network = torchvision_library.build_network(name, size).eval()
    seen: list[torch.Tensor] = []
    layer = network.get_submodule(classifier)
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.linspace(-2, 2, 3 * size * size).view(1, 3, size, size)
    with torch.inference_mode():
        network(images)
        backbone = Backbone(
            *split_classifier(network, find_family(name)), shape=(1, 1), pooling="avg"
        )
        found = backbone(images)
        found = backbone.after_pool(found.mean(dim=(2, 3)) if found.ndim == 4 else found)
    torch.testing.assert_close(found, seen[0].flatten(1), rtol=1e-4, atol=1e-5)


def test_random_weights_depend_only_on_the_seed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_backbone("squeezenet1_1", 32, pooling="avg", seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = build_backbone("squeezenet1_1", 32, pooling="avg", seed=7).state_dict()
    other = build_backbone("squeezenet1_1", 32, pooling="avg", seed=8).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_gem_pools_the_map_of_a_timm_network() -> None:
    assert build_backbone("timm:resnet10t", 32, pooling="gem").has_map
    swin = build_backbone("timm:swin_tiny_patch4_window7_224", 64, pooling="gem")
    with torch.inference_mode():
        assert swin(torch.rand(1, 3, 64, 64)).shape == (1, 768, 2, 2)


def test_a_flattened_map_gets_the_layer_norm_of_the_network_at_each_position() -> None:
    backbone = build_backbone("convnext_tiny", 64, pooling="flatten", seed=1)
    whole = torchvision.models.convnext_tiny().classifier[0]
    whole.load_state_dict({"weight": torch.rand(768), "bias": torch.rand(768)})
    backbone._after_pool.load_state_dict(whole.state_dict())
    with torch.inference_mode():
        found = backbone(torch.rand(2, 3, 64, 64))
        assert found.shape[2:] == (2, 2)
        expected = whole(found).flatten(1)
        torch.testing.assert_close(backbone.after_pool(found.flatten(1)), expected)
    assert backbone.feature_dim == 768 * 2 * 2


def test_the_map_of_a_timm_network_is_flattened() -> None:
    assert build_backbone("timm:resnet10t", 64, pooling="flatten").feature_dim == 512 * 2 * 2


def test_networks_that_rescale_inside_get_it_as_mean_and_std() -> None:
    assert find_preprocessing("googlenet").mean == (0.5, 0.5, 0.5)
    assert find_preprocessing("resnet18").std == (0.229, 0.224, 0.225)
    assert find_preprocessing("timm:vit_tiny_patch16_224").interpolation == "bicubic"


def message(name: str, size: int = 32, *, pooling: str = "avg", weights: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        build_backbone(name, size, pooling=pooling, weights=weights)
    return str(caught.value)


def test_the_error_for_an_unknown_name_suggests_a_close_one() -> None:
    text = message("resnet81")
    assert text.startswith("backbone.name: found 'resnet81'; allowed: alexnet, convnext_base, ")
    assert text.endswith("; did you mean 'resnet18'?")


def test_the_error_for_an_unknown_name_of_timm_suggests_a_close_one() -> None:
    text = message("timm:resnet10tt")
    assert text.startswith("backbone.name: found 'timm:resnet10tt'; allowed: timm: and one of the ")
    assert text.endswith(" names of timm.list_models(); did you mean 'timm:resnet10t'?")


def test_the_error_for_a_wrong_tag_of_weights_lists_those_of_the_network() -> None:
    assert message("timm:resnet18.a1_in1") == (
        "backbone.name: timm has 'timm:resnet18', but no weights of it with this tag: "
        "found 'a1_in1'; allowed: a1_in1k, a2_in1k, a3_in1k, fb_ssl_yfcc100m_ft_in1k, "
        "fb_swsl_ig1b_ft_in1k, gluon_in1k, tv_in1k; did you mean 'a1_in1k'?"
    )
    assert build_backbone("timm:resnet18.tv_in1k", 32, pooling="avg").feature_dim == 512


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a network of the hub, me/tiny, in this machine's cache; no connection."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    timm_library._read_hub_settings.cache_clear()
    folder = tmp_path / "models--me--tiny" / "snapshots" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "models--me--tiny" / "refs").mkdir()
    (tmp_path / "models--me--tiny" / "refs" / "main").write_text("1")
    return folder


def test_a_network_of_the_hub_is_built_with_its_own_weights_and_preprocessing(hub: Path) -> None:
    network = timm.create_model("test_vit", num_classes=5, img_size=64)
    settings = {"mean": [0.1, 0.2, 0.3], "input_size": [3, 64, 64], "fixed_input_size": True}
    config = {
        "architecture": "test_vit",
        "num_classes": 5,
        "pretrained_cfg": settings | {"classifier": "head", "interpolation": "bilinear"},
        "model_args": {"img_size": 64},
    }
    (hub / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), hub / "model.safetensors")
    name = "timm:hf-hub:me/tiny"
    for weights, size in (("imagenet", 64), ("imagenet", 96), (hub / "model.safetensors", 96)):
        found = build_backbone(name, size, pooling="avg", weights=weights).trunk.state_dict()
        assert torch.equal(found["norm.weight"], network.norm.weight)
        assert torch.equal(found["blocks.0.attn.qkv.weight"], network.blocks[0].attn.qkv.weight)
        assert found["pos_embed"].shape[1] == 1 + (size // 16) ** 2
    assert find_preprocessing(name).mean == (0.1, 0.2, 0.3)


def test_the_error_for_a_network_of_the_hub_says_why(hub: Path) -> None:
    text = message("timm:hf-hub:me/other")
    assert text.startswith(
        "backbone.name: found 'timm:hf-hub:me/other', and this network of the Hugging Face hub "
        "cannot be read ("
    )
    assert text.endswith(
        "); check owner/name and the connection, or take one of timm.list_models()"
    )
    assert "\n" not in text
    (hub / "config.json").write_text('{"architecture": "nope", "pretrained_cfg": {}}')
    assert "(its architecture 'nope' is none of timm's)" in message("timm:hf-hub:me/tiny")
    (hub / "config.json").write_text("{")
    assert "cannot be read (Expecting property name" in message("timm:hf-hub:me/tiny")
    assert "cannot be read (Repo id must" in message("timm:hf-hub:/a b/c")


@pytest.mark.parametrize("pooling", ["gem", "flatten"])
def test_pooling_is_refused_for_a_network_without_a_map(pooling: str) -> None:
    assert message("vit_b_32", pooling=pooling) == (
        f"backbone.pooling: found '{pooling}'; vit_b_32 gives no map to pool, only one vector for "
        "each image; allowed: avg"
    )


@pytest.mark.parametrize(("name", "size"), [("vit_b_32", 50), ("maxvit_t", 96), ("alexnet", 16)])
def test_a_size_that_the_network_cannot_take_is_refused(name: str, size: int) -> None:
    text = message(name, size)
    start = f"backbone.image_size: found {size}; {name} does not take images of that size ("
    assert text.startswith(start)
    assert text.endswith("); choose another, 224 suits most")
    assert "\n" not in text


def test_the_error_for_a_failed_download_says_to_pass_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    assert message("resnet18", weights="imagenet") == (
        "backbone.weights: found 'imagenet', and the download for resnet18 failed "
        "(no route to host); pass a .safetensors or .pt file"
    )


@pytest.mark.slow
def test_timm_is_not_imported_for_a_network_of_torchvision() -> None:
    code = (
        "import sys; from pipeline.models.backbones import find_preprocessing; "
        "find_preprocessing('resnet18'); sys.exit('timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Weights files: matching keys are loaded, others are reported, and no code is run."""

import argparse
import logging
import pickle
import zipfile
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.errors import UserError
from pipeline.models.backbones import build_backbone
from pipeline.models.weights import load_weights, read_weights, select_weights
from tests.helpers.paths import SHARED

SQUEEZENET = SHARED / "weights/squeezenet1_0-imagenet.safetensors"


@pytest.mark.skipif(not SQUEEZENET.is_file(), reason=f"{SQUEEZENET} is missing")
def test_real_weights_give_the_features_of_the_library_with_its_classifier_cut_by_hand() -> None:
    network = torchvision.models.squeezenet1_0()
    network.load_state_dict(load_file(SQUEEZENET))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    backbone = build_backbone("squeezenet1_0", 64, pooling="avg", weights=SQUEEZENET)
    with torch.inference_mode():
        assert torch.equal(backbone(images), network.eval().features(images))


def small_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(torchvision.models.shufflenet_v2_x0_5().state_dict())


def renamed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


def zeros(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.zeros_like(value) for name, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {k: v for k, v in state.items() if not k.startswith("fc.")},
        lambda state: state | {"fc.weight": torch.zeros(3, 1024), "fc.bias": torch.zeros(3)},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
        lambda state: {"model": state},
        lambda state: renamed(state, "backbone.") | {"head.fc.weight": torch.ones(2)},
        lambda state: {"state_dict": renamed(state, "model.encoder._orig_mod.")},
        lambda state: {"a": {"b": {"c": renamed(state, "module.")}}, "optimizer": zeros(state)},
        lambda state: {"student": zeros(state), "teacher": renamed(state, "backbone.")},
        lambda state: {"state_dict": zeros(state), "state_dict_ema": state},
        lambda state: {"model_ema": renamed(state, "module."), "model": zeros(state)},
        lambda state: renamed(zeros(state), "online.") | renamed(state, "ema_model.net."),
        lambda state: state | {"optimizer": {"state": {"0": {"exp_avg": torch.ones(2)}}}},
        lambda state: {"net": state, "args": argparse.Namespace(lr=1.0), "epoch": 3},
    ],
    ids=[
        *("whole", "trunk", "three classes", "wrapped", "model", "backbone", "prefixes", "nested"),
        *("teacher", "state_dict_ema", "model_ema", "ema beside online", "optimizer", "options"),
    ],
)
def test_a_file_of_the_whole_network_or_of_its_trunk_fits(tmp_path: Path, wrap) -> None:
    state = small_state()
    torch.save(wrap(state), tmp_path / "w.pt")
    backbone = build_backbone(
        "shufflenet_v2_x0_5", 32, pooling="avg", weights=tmp_path / "w.pt", seed=9
    )
    found = backbone.trunk.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in found)


def test_the_error_names_the_keys_of_another_architecture(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(small_state(), path)
    with pytest.raises(UserError) as caught:
        build_backbone("squeezenet1_1", 32, pooling="avg", weights=path)
    expected = len(torchvision.models.squeezenet1_1().features.state_dict())
    given = len([key for key in small_state() if not key.startswith("classifier.")])
    assert str(caught.value) == (
        f"backbone.weights: {path} into squeezenet1_1: the weights do not fit: {expected} missing "
        f"(features.0.weight, features.0.bias, features.3.squeeze.weight, …); {given} unexpected "
        "(conv1.0.weight, conv1.1.weight, conv1.1.bias, …); "
        "they are of another architecture"
    )


def test_what_was_taken_of_a_file_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = nn.Sequential(nn.Linear(2, 3))
    torch.save({"state_dict": renamed(network.state_dict(), "module.")}, tmp_path / "w.pt")
    with caplog.at_level(logging.INFO):
        assert select_weights(read_weights(tmp_path / "w.pt"), network).keys() == {
            *("0.weight", "0.bias")
        }
    assert caplog.messages == ["backbone.weights: the tensors are those named state_dict/module.…"]


def load_error(state: dict[str, torch.Tensor]) -> str:
    """Return why `state` is refused by a small network of two layers and a batch norm."""
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    with pytest.raises(UserError) as caught:
        load_weights(network, network.state_dict() | state, where="w")
    return str(caught.value)


def test_the_error_says_how_near_the_weights_are() -> None:
    wide = {"0.weight": torch.zeros(3, 4)}
    assert load_error(wide) == (
        "w: the weights do not fit: 1 of another shape (0.weight: [3, 4] for [3, 2]); "
        "the layers are the same, but of another width, patch or image size"
    )
    assert load_error(wide | {"3.weight": torch.zeros(2)}) == (
        "w: the weights do not fit: 1 unexpected (3.weight); 1 of another shape "
        "(0.weight: [3, 4] for [3, 2]); "
        "the other 8 fit: they are of another variant of this architecture"
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    state = {f"{n}.bias": torch.tensor([0.0, bad, 0.0]) for n in range(3)}
    assert load_error(state | {"2.running_var": torch.full((3,), bad)}) == (
        "w: of 9 tensors, 4 with NaN or infinity (0.bias, 1.bias, 2.bias, …); "
        "pass weights of finite floating-point numbers"
    )


def test_integer_weights_are_refused_but_a_counter_is_not() -> None:
    state = {"0.bias": torch.zeros(3, dtype=torch.int8), "1.bias": torch.full((3,), torch.nan)}
    assert load_error(state) == (
        "w: of 9 tensors, 1 with NaN or infinity (1.bias); "
        "1 not of floating point (0.bias: torch.int8); "
        "pass weights of finite floating-point numbers"
    )
    network = nn.BatchNorm1d(3)
    halves = {name: value.half() for name, value in network.state_dict().items()}
    counter = {"num_batches_tracked": torch.tensor(7)}
    load_weights(network, halves | counter, where="w")
    assert network.num_batches_tracked == 7
    assert network.weight.dtype == torch.float32


@pytest.mark.parametrize("wrap", [dict, lambda state: {"model": renamed(state, "module.")}])
@pytest.mark.parametrize("size", [160, 96])
def test_a_transformer_of_timm_is_resampled_as_timm_does(tmp_path: Path, wrap, size: int) -> None:
    state = timm.create_model("test_vit", img_size=160, num_classes=10).state_dict()
    torch.save(wrap(state), tmp_path / "w.pt")
    found = build_backbone("timm:test_vit", size, pooling="avg", weights=tmp_path / "w.pt")
    expected = timm.create_model(
        "test_vit",
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": state},
        img_size=size,
        num_classes=0,
    )
    tensors = found.trunk.state_dict()
    assert all(torch.equal(tensors[k], v) for k, v in expected.state_dict().items())
    assert torch.equal(tensors["pos_embed"], state["pos_embed"]) == (size == 160)


def test_timm_reads_the_names_of_the_original_publication(tmp_path: Path) -> None:
    network = timm.create_model("test_convnext", num_classes=0)
    original = {
        name.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm."): value
        for name, value in network.state_dict().items()
    }
    names = {".conv_dw.": ".dwconv.", ".mlp.fc1.": ".pwconv1.", ".mlp.fc2.": ".pwconv2."}
    for new, old in names.items():
        original = {name.replace(new, old): value for name, value in original.items()}
    for stage in range(1, 4):
        new, old = f"stages.{stage}.downsample.", f"downsample_layers.{stage}."
        original = {name.replace(new, old): value for name, value in original.items()}
    original = {name.replace(".blocks.", "."): value for name, value in original.items()}
    torch.save({"model": original}, tmp_path / "w.pt")
    found = build_backbone("timm:test_convnext", 64, pooling="avg", weights=tmp_path / "w.pt")
    assert original.keys() != network.state_dict().keys()
    tensors = found.trunk.state_dict()
    assert all(torch.equal(tensors[k], v) for k, v in network.state_dict().items())


@pytest.mark.slow
def test_a_transformer_of_torchvision_is_resampled(tmp_path: Path) -> None:
    state = torchvision.models.vit_b_32(image_size=64).state_dict()
    save_file({f"model.{name}": value for name, value in state.items()}, tmp_path / "w.safetensors")
    found = build_backbone("vit_b_32", 96, pooling="avg", weights=tmp_path / "w.safetensors")
    assert found.trunk.state_dict()["encoder.pos_embedding"].shape == (1, 1 + 9, 768)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ("timm:test_vit2", "; the other 75 fit: they are of another variant of this architecture"),
        ("timm:test_vit3", "; they are of another architecture"),
        ("timm:test_efficientnet", "; they are of another architecture"),
        ("vit_b_32", "; they are of another architecture"),
    ],
)
def test_the_weights_of_another_transformer_are_refused(
    tmp_path: Path, network: str, reason: str
) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "w.pt")
    with pytest.raises(UserError) as caught:
        build_backbone(network, 160, pooling="avg", weights=tmp_path / "w.pt")
    start = f"backbone.weights: {tmp_path / 'w.pt'} into {network}: the weights do not fit: "
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(reason)


@pytest.mark.slow
def test_position_embeddings_of_images_that_are_not_square_are_refused(tmp_path: Path) -> None:
    state = torchvision.models.vit_b_32(image_size=64).state_dict()
    state["encoder.pos_embedding"] = torch.zeros(1, 1 + 6, 768)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UserError) as caught:
        build_backbone("vit_b_32", 96, pooling="avg", weights=tmp_path / "w.pt")
    assert str(caught.value).endswith(
        "1 of another shape (encoder.pos_embedding: [1, 7, 768] for [1, 10, 768]); "
        "the layers are the same, but of another width, patch or image size"
    )


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("old", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, old: bool) -> None:
    path, trace = tmp_path / "w.pt", tmp_path / "executed"
    torch.save({"weight": Bomb(trace)}, path, _use_new_zipfile_serialization=not old)
    assert read_error(path) == (
        f"{path}: holds code or objects beside tensors (getattr), and was not loaded; "
        "save model.state_dict() alone, or as .safetensors"
    )
    path.write_bytes(pickle.dumps({"weight": Bomb(trace)}))
    assert read_error(path) == (
        f"{path}: damaged, or not written by torch.save (Unsupported operand 149), "
        "and was not loaded; save model.state_dict() there"
    )
    assert not trace.exists()


def test_a_pickled_network_is_refused_with_the_name_of_its_class(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"model": torchvision.models.squeezenet1_1(), "epoch": 3}, path)
    assert "beside tensors (torchvision.models.squeezenet.SqueezeNet), and was not " in read_error(
        path
    )


def read_error(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_weights(path)
    return str(caught.value)


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.pt"
    assert read_error(path) == f"{path}: no such file; pass a .safetensors or .pt file of weights"
    path = tmp_path / "list.pt"
    torch.save([1, 2], path)
    assert read_error(path) == f"{path}: holds no table of tensors; save model.state_dict() there"
    path = tmp_path / "script.pt"
    torch.jit.script(nn.Linear(2, 2)).save(path)
    assert read_error(path) == (
        f"{path}: holds code or objects beside tensors (TorchScript), and was not loaded; "
        "save model.state_dict() alone, or as .safetensors"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file; save model.state_dict() there"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "only the pointer of Git LFS; fetch the file: git lfs pull",
        ),
        (
            b"<!DOCTYPE html>",
            "neither a safetensors file nor one of torch.save; save model.state_dict() there",
        ),
    ],
    ids=["empty", "LFS", "HTML"],
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors", "onnx"])
def test_a_file_of_another_format_is_told_as_what_it_is(
    tmp_path: Path, content: bytes, reason: str, suffix: str
) -> None:
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    assert read_error(path) == f"{path}: {reason}"


@pytest.mark.parametrize("suffix", [".bin", ".pth.tar", ".ckpt", ".pt", ".safetensors"])
@pytest.mark.parametrize("old", [True, False])
def test_the_content_of_a_file_counts_not_its_suffix(
    tmp_path: Path, suffix: str, old: bool
) -> None:
    state = {"w": torch.arange(3.0)}
    torch.save(state, tmp_path / f"t{suffix}", _use_new_zipfile_serialization=not old)
    save_file(state, tmp_path / f"s{suffix}")
    for name in ("t", "s"):
        assert torch.equal(read_weights(tmp_path / f"{name}{suffix}")["w"], state["w"])


@pytest.mark.parametrize("kept", [2000, -50])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    state = {"w": torch.zeros(1000)}
    torch.save(state, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "w.safetensors")
    for name, kind in (("new.pt", "torch"), ("old.pt", "torch"), ("w.safetensors", "safetensors")):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:kept])
        assert read_error(path).startswith(f"{path}: not a whole {kind} file (")
        assert "\n" not in read_error(path)
    with zipfile.ZipFile(tmp_path / "new.pt", "w") as archive:
        archive.writestr("a.jpg", b"")
    assert read_error(tmp_path / "new.pt").startswith(f"{tmp_path / 'new.pt'}: not a whole torch ")


def test_a_pickle_that_is_none_is_not_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"\x80\x02.")  # an end without a value
    assert read_error(tmp_path / "w.pt") == (
        f"{tmp_path / 'w.pt'}: not a whole torch file (pop from empty list)"
    )

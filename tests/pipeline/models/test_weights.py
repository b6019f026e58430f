"""Weights files: matching keys are loaded, others are reported, and no code is run."""

import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from pipeline.errors import UserError
from pipeline.models.backbones import build_backbone
from pipeline.models.weights import load_weights, read_weights
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


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {k: v for k, v in state.items() if not k.startswith("fc.")},
        lambda state: state | {"fc.weight": torch.zeros(3, 1024), "fc.bias": torch.zeros(3)},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
        lambda state: {"model": state},
    ],
    ids=["whole", "trunk", "three classes", "wrapped", "model"],
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


def test_the_error_names_the_keys_of_another_shape() -> None:
    network = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(UserError) as caught:
        load_weights(network, {"0.weight": torch.zeros(3, 4), "0.bias": torch.zeros(3)}, where="w")
    assert str(caught.value) == (
        "w: the weights do not fit: 1 of another shape (0.weight); they are of another architecture"
    )


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("save", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, save) -> None:
    path, trace = tmp_path / "w.pt", tmp_path / "executed"
    save({"weight": Bomb(trace)}, path)
    with pytest.raises(UserError) as caught:
        read_weights(path)
    assert str(caught.value) == (
        f"{path}: holds code or objects beside tensors, or is damaged, and was not loaded; "
        "save model.state_dict() alone, or as .safetensors"
    )
    assert not trace.exists()


def read_error(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_weights(path)
    return str(caught.value)


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.pt"
    assert read_error(path) == f"{path}: no such file; pass a .safetensors or .pt file of weights"
    path = tmp_path / "w.onnx"
    path.write_bytes(b"x")
    assert read_error(path) == f"{path}: found suffix '.onnx'; allowed: .safetensors, .pt, .pth"
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"x")
    assert read_error(path).startswith(f"{path}: not a whole safetensors file (")
    path = tmp_path / "list.pt"
    torch.save([1, 2], path)
    assert read_error(path) == f"{path}: holds no table of tensors; save model.state_dict() there"


def test_a_truncated_torch_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    assert read_error(path).startswith(f"{path}: not a whole torch file (")
    assert "\n" not in read_error(path)

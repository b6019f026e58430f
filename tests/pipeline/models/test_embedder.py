"""The embedder: heads, precision, and a round trip through its two files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from pipeline.config.schema import BackboneParams, HeadParams
from pipeline.errors import UserError
from pipeline.models.embedder import (
    Embedder,
    attach_head,
    build_baseline,
    load_embedder,
    save_embedder,
)
from pipeline.models.heads import HEADS, MLPHead
from pipeline.models.pooling import POOLINGS, Pooling


def baseline(pooling: str = "avg") -> Embedder:
    return build_baseline(
        "shufflenet_v2_x0_5", image_size=32, pooling=pooling, weights=None, seed=1
    )


@pytest.mark.parametrize(("name", "dim"), [("linear", 16), ("mlp", 16), ("none", 1024)])
def test_a_head_gives_its_dim(name: str, dim: int) -> None:
    model = attach_head(baseline(), name=name, dim=16, hidden=8, normalize=False, seed=2)
    found = model.eval()(torch.rand(2, 3, 32, 32))
    assert found.shape == (2, dim)
    assert model.dim == dim
    assert not torch.allclose(found.norm(dim=1), torch.ones(2))


def test_the_weights_of_a_head_depend_on_its_seed() -> None:
    first, again, other = (
        attach_head(
            baseline(), name="linear", dim=4, hidden=1, normalize=True, seed=seed
        ).head.weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_head_that_begins_as_principal_axes_keeps_the_baselines_similarities() -> None:
    """Of 8 vectors, 8 axes hold all; a random head, or fewer axes, would change them."""
    images = torch.rand(8, 3, 32, 32)
    with torch.inference_mode():
        before = baseline().eval()(images)
        options = {"name": "linear", "hidden": 1, "normalize": True, "seed": 1}
        errors = []
        for dim, init in ((8, "pca"), (2, "pca"), (8, "random")):
            model = attach_head(baseline(), **options, dim=dim, init=init, vectors=before.numpy())
            after = model.eval()(images)
            errors.append(float((after @ after.T - before @ before.T).abs().max()))
    assert errors[0] < 1e-5
    assert min(errors[1:]) > 1e-4


def test_the_output_is_float32_and_of_unit_length_under_bf16() -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = baseline()(torch.rand(3, 3, 32, 32))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3), rtol=1e-6, atol=1e-6)


def test_both_files_have_the_mode_of_a_new_file(tmp_path: Path) -> None:
    save_embedder(baseline(), tmp_path / "model")
    (tmp_path / "new").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert modes == {(tmp_path / "new").stat().st_mode}


@pytest.mark.parametrize("pooling", ["avg", "gem", "flatten"])
def test_a_saved_embedder_is_loaded_with_the_same_bits(tmp_path: Path, pooling: str) -> None:
    model = attach_head(
        baseline(pooling), name="mlp", dim=16, hidden=8, normalize=True, seed=2
    ).eval()
    model.to(memory_format=torch.channels_last)
    save_embedder(model, tmp_path / "one")
    loaded = load_embedder(tmp_path / "one")
    save_embedder(loaded, tmp_path / "two")
    assert loaded.spec == model.spec
    assert not loaded.training
    assert {p.name for p in (tmp_path / "two").iterdir()} == {"model.json", "model.safetensors"}
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        # channels_last has other kernels, whose sums round differently
        torch.testing.assert_close(loaded(images), model(images), rtol=1e-4, atol=1e-5)


@dataclass(frozen=True)
class NormalizedMLP(MLPHead):
    def build(self, feature_dim: int, /) -> nn.Module:
        return nn.Sequential(super().build(feature_dim), nn.BatchNorm1d(self.dim))


class AverageAndMaximum(Pooling):
    @staticmethod
    def values_per_channel(_height: int, _width: int, /) -> int:
        return 2

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=2).flatten(1)


def test_an_added_head_and_pooling_are_saved_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HEADS, "mlp_bn", NormalizedMLP)
    monkeypatch.setitem(POOLINGS, "avg_max", AverageAndMaximum)
    model = attach_head(
        baseline("avg_max"), name="mlp_bn", dim=16, hidden=8, normalize=True, seed=2
    ).eval()
    assert model.backbone.feature_dim == 2048
    save_embedder(model, tmp_path)
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(load_embedder(tmp_path)(images), model(images))


def test_a_model_names_the_options_that_its_head_uses() -> None:
    used = {
        name: attach_head(baseline(), name=name, dim=16, hidden=8, normalize=True, seed=2).spec.head
        for name in ("linear", "mlp", "none")
    }
    assert {name: (head.dim, head.hidden) for name, head in used.items()} == {
        "linear": (16, None),
        "mlp": (16, 8),
        "none": (None, None),
    }


def test_params_yaml_may_name_each_head_and_pooling() -> None:
    assert set(get_args(HeadParams.model_fields["name"].annotation)) == HEADS.keys()
    assert set(get_args(BackboneParams.model_fields["pooling"].annotation)) == POOLINGS.keys()


def load_error(directory: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_embedder(directory)
    return str(caught.value)


def test_the_error_names_a_missing_file(tmp_path: Path) -> None:
    assert load_error(tmp_path) == (
        f"{tmp_path}/model.json: no such file; a model is a directory with model.json and "
        "model.safetensors; run: dvc repro"
    )


def test_the_error_names_a_file_that_does_not_fit_or_is_damaged(tmp_path: Path) -> None:
    save_embedder(baseline(), tmp_path)
    spec = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(spec | {"color": "red"}))
    assert load_error(tmp_path).startswith(f"{tmp_path}/model.json: not a model's description (")


def test_a_head_on_the_embedding_projects_the_baselines_vectors(tmp_path: Path) -> None:
    """What a model says of its head's input is new: the others are described as ever."""
    first = baseline()
    model = attach_head(
        first, name="mlp", dim=16, hidden=8, normalize=True, seed=2, head_input="embedding"
    ).eval()
    save_embedder(model, tmp_path / "head")
    save_embedder(first, tmp_path / "baseline")
    assert "head_input" not in json.loads((tmp_path / "baseline/model.json").read_text())
    loaded = load_embedder(tmp_path / "head")
    assert loaded.spec == model.spec
    images = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), loaded.project(first(images)))
        longer = model.head(first(images) * first.dim**0.5)
        torch.testing.assert_close(loaded(images), torch.nn.functional.normalize(longer, dim=1))


@pytest.mark.parametrize("changed", ["a weight", "the length", "the header", "the description"])
def test_what_is_not_as_it_was_written_is_refused(changed: str, tmp_path: Path) -> None:
    save_embedder(baseline(), tmp_path)
    weights, description = tmp_path / "model.safetensors", tmp_path / "model.json"
    content = bytearray(weights.read_bytes())
    if changed == "the description":
        description.write_text(description.read_text().replace("0.485", "0.495"))
    elif changed == "the length":
        weights.write_bytes(content[:-4])
    else:
        content[0 if changed == "the header" else -2] ^= 1
        weights.write_bytes(content)
    assert load_error(tmp_path) == (
        f"{description}: its digest is not that of it and model.safetensors: one of them is "
        "damaged, or they are of two models; run: dvc checkout, or if that does not help: dvc repro"
    )


def test_weights_of_another_version_of_an_architecture_are_told(tmp_path: Path) -> None:
    """As a renewed library would give them: the files are whole, but of other layers."""
    model = baseline()
    model.head = nn.Linear(1024, 4)
    save_embedder(model, tmp_path)
    assert load_error(tmp_path) == (
        f"{tmp_path}/model.safetensors: the weights do not fit: 2 unexpected (head.bias, "
        "head.weight); the other 336 fit: they are of another variant of this architecture"
    )

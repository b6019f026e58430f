"""The embedder: heads, precision, and a round trip through its two files."""

import json
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.models.embedder import (
    Embedder,
    attach_head,
    build_baseline,
    load_embedder,
    save_embedder,
)


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
    with_head = spec | {"head": {"name": "linear", "dim": 4, "hidden": None}}
    (tmp_path / "model.json").write_text(json.dumps(with_head))
    assert load_error(tmp_path) == (
        f"{tmp_path}/model.safetensors: the weights do not fit: 2 missing (head.weight, "
        "head.bias); they are of another architecture"
    )
    (tmp_path / "model.json").write_text(json.dumps(spec | {"colour": "red"}))
    assert load_error(tmp_path).startswith(f"{tmp_path}/model.json: not a model's description (")
    (tmp_path / "model.json").write_text(json.dumps(spec))
    (tmp_path / "model.safetensors").write_bytes(b"half")
    assert load_error(tmp_path).startswith(f"{tmp_path}/model.safetensors: damaged (")

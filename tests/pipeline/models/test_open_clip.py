"""Models of images and texts: both sides against open_clip's own, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.data.decoding import decode
from pipeline.errors import UserError
from pipeline.models import open_clip_library
from pipeline.models.backbones import build_backbone, find_image_size, find_preprocessing
from pipeline.models.embed_images import embed_pixels
from pipeline.models.embedder import build_baseline, load_embedder
from pipeline.models.preprocessing import Preprocessing, normalize_pixels, resize_and_crop
from pipeline.models.text_side import build_text_side, load_text_side, save_text_side
from tests.helpers.searchable import draw
from tests.helpers.tiny_clip import NAMES, SIDE, WEIGHTS_FILE, WORDS, write_models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tiny_clip: str) -> Any:
    """Both sides with their weights, as open_clip itself opens the folder."""
    import open_clip

    return open_clip.create_model(tiny_clip.removeprefix("open_clip:")).eval()


@pytest.fixture
def folder(tiny_clip: str, tmp_path: Path) -> Path:
    """A copy of the model's folder, to change."""
    source = tiny_clip.partition("local-dir:")[2]
    return Path(shutil.copytree(source, tmp_path / "clip"))


def name_of(folder: Path) -> str:
    return f"open_clip:local-dir:{folder}"


def pixels() -> torch.Tensor:
    drawn = [decode(draw(*name.split(), number)) for name in NAMES for number in range(4)]
    return torch.from_numpy(np.stack([resize_and_crop(each, SIDE, "bicubic") for each in drawn]))


def test_both_sides_are_those_of_open_clip(tiny_clip: str, whole: Any) -> None:
    import open_clip

    model = build_baseline(tiny_clip, image_size=SIDE, pooling="avg", weights="imagenet", seed=0)
    side = build_text_side(tiny_clip, weights="imagenet", seed=0)
    assert side is not None
    with torch.inference_mode():
        images = embed_pixels(model, pixels(), hflip=False)
        scaled = normalize_pixels(pixels().permute(0, 3, 1, 2), model.spec)
        expected = whole.encode_image(scaled, normalize=True)
        tokens = open_clip.SimpleTokenizer(context_length=WORDS)(NAMES)
        words = whole.encode_text(tokens, normalize=True).numpy()
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(side.embed(NAMES), words)
    assert find_image_size(tiny_clip) == SIDE
    assert find_preprocessing(tiny_clip) == Preprocessing(
        open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD, "bicubic"
    )


def test_a_saved_text_side_is_the_same_and_belongs_to_its_model(
    tiny_clip: str, tmp_path: Path
) -> None:
    write_models(tiny_clip, tmp_path)
    baseline = tmp_path / "models/baseline"
    side = build_text_side(tiny_clip, weights="imagenet", seed=0)
    assert side is not None
    np.testing.assert_array_equal(load_text_side(baseline).embed(NAMES), side.embed(NAMES))
    first = (baseline / "text.safetensors").read_bytes()
    save_text_side(side, baseline)
    assert (baseline / "text.safetensors").read_bytes() == first
    assert load_embedder(baseline).spec.backbone == tiny_clip  # which it does not read

    shutil.copy(baseline / "text.safetensors", tmp_path / "models/finetuned")
    with pytest.raises(UserError) as error:
        load_text_side(tmp_path / "models/finetuned")
    assert str(error.value) == (
        f"{tmp_path}/models/finetuned/text.safetensors: of another model than the one beside it; "
        "run: dvc checkout"
    )
    damaged = baseline / "text.safetensors"
    damaged.write_bytes(first[:-100])
    with pytest.raises(UserError, match=r"text\.safetensors: not a whole safetensors file"):
        load_text_side(baseline)
    (tmp_path / "models/finetuned/text.safetensors").unlink()
    with pytest.raises(UserError, match="no such file: this model understands images alone"):
        load_text_side(tmp_path / "models/finetuned")


def test_weights_of_a_file_are_found_for_both_sides(
    tiny_clip: str, folder: Path, tmp_path: Path
) -> None:
    side = build_text_side(tiny_clip, weights="imagenet", seed=0)
    state = {f"module.{key}": each for key, each in load_file(folder / WEIGHTS_FILE).items()}
    path = tmp_path / "saved.pt"
    torch.save({"state_dict": state, "epoch": 3}, path)
    of_file = build_text_side(tiny_clip, weights=path, seed=0)
    assert side is not None
    assert of_file is not None
    np.testing.assert_array_equal(of_file.embed(NAMES), side.embed(NAMES))
    backbones = [
        build_backbone(tiny_clip, SIDE, pooling="avg", weights=weights)
        for weights in ("imagenet", path)
    ]
    states = [each.state_dict() for each in backbones]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_file_of_the_image_side_alone_has_no_text_side(
    tiny_clip: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = load_file(folder / WEIGHTS_FILE)
    path = tmp_path / "images.safetensors"
    save_file({key: each for key, each in state.items() if key.startswith("visual.")}, path)
    with caplog.at_level("INFO"):
        assert build_text_side(tiny_clip, weights=path, seed=0) is None
    assert f"backbone.weights: {path} holds no text side; images alone search" in caplog.text
    assert build_backbone(tiny_clip, SIDE, pooling="avg", weights=path).feature_dim == 32


def test_random_weights_depend_on_the_seed(tiny_clip: str) -> None:
    sides = [build_text_side(tiny_clip, weights=None, seed=seed) for seed in (1, 1, 2)]
    first, same, other = (side.embed(NAMES[:1]) for side in sides if side is not None)
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_a_transformer_takes_another_image_size(folder: Path) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"] = {
        "image_size": 32,
        "layers": 1,
        "width": 32,
        "patch_size": 8,
        "head_width": 32,
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / WEIGHTS_FILE).unlink()
    whole = open_clip_library.build_model(f"local-dir:{folder}")
    save_file({k: v.contiguous() for k, v in whole.state_dict().items()}, folder / WEIGHTS_FILE)
    large = build_backbone(name_of(folder), 64, pooling="avg", weights=folder / WEIGHTS_FILE)
    own = build_backbone(name_of(folder), 64, pooling="avg", weights="imagenet")
    assert large.trunk.positional_embedding.shape == (65, 32)
    assert torch.equal(large.trunk.positional_embedding, own.trunk.positional_embedding)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ViT-B-31",
            "backbone.name: found 'open_clip:ViT-B-31'; allowed: open_clip: and one of the "
            r"\d+ names of open_clip.list_models\(\), or hf-hub: and owner/name, or local-dir: and "
            "a folder; did you mean 'open_clip:ViT-B-32'\\?",
        ),
        (
            "ViT-B-32.laion2b",
            "backbone.name: open_clip has 'open_clip:ViT-B-32', but no weights of it with this "
            "tag: found 'laion2b'; allowed: .*laion2b_s34b_b79k.*",
        ),
        (
            "ViT-B-32.openai",
            "backbone.name: found 'open_clip:ViT-B-32.openai', whose weights were trained with "
            "another activation; take 'open_clip:ViT-B-32-quickgelu.openai'",
        ),
        (
            "local-dir:/nowhere",
            "backbone.name: found 'open_clip:local-dir:/nowhere', and its open_clip_config.json "
            r"cannot be read \(.*No such file.*\); check the name and the connection, or take one "
            r"of open_clip.list_models\(\)",
        ),
        (
            "coca_ViT-B-32",
            r"backbone.name: found 'open_clip:coca_ViT-B-32', which also writes captions \(CoCa\); "
            "allowed: models of two sides, as ViT-B-32",
        ),
        (
            "roberta-ViT-B-32",
            "backbone.name: found 'open_clip:roberta-ViT-B-32', whose texts need a package that is "
            "not installed; run: uv pip install transformers sentencepiece",
        ),
    ],
)
def test_a_name_that_cannot_be_built_is_an_error_of_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        build_backbone(f"open_clip:{name}", 224, pooling="avg")


def test_weights_need_a_tag_or_a_place() -> None:
    with pytest.raises(UserError) as error:
        build_backbone("open_clip:ViT-S-32", 224, pooling="avg", weights="imagenet")
    assert str(error.value).startswith(
        "backbone.weights: found 'imagenet', and the download for ViT-S-32 failed (the name says "
        "no tag of weights, as ViT-S-32."
    )


def test_a_folder_holds_one_file_of_weights(folder: Path) -> None:
    shutil.copy(folder / WEIGHTS_FILE, folder / "other.safetensors")
    with pytest.raises(UserError, match="holds 2 files of weights, not one"):
        build_backbone(name_of(folder), SIDE, pooling="avg", weights="imagenet")

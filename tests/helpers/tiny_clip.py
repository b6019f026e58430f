"""A model of images and texts that is trained here in seconds, on the images of `searchable`."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from pipeline.data.decoding import decode
from pipeline.models.embedder import attach_head, build_baseline, save_embedder
from pipeline.models.open_clip_library import CONFIG_FILE
from pipeline.models.preprocessing import resize_and_crop
from pipeline.models.text_side import build_text_side, save_text_side
from tests.helpers.searchable import COLORS, SHAPES, draw

SIDE, WORDS = 32, 6
CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    "text_cfg": {
        "context_length": WORDS,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}
WEIGHTS_FILE = "open_clip_model.safetensors"
NAMES = [f"{color} {shape}" for color, shape in product(COLORS, SHAPES)]
IMAGES = 30  # of each name, for training; others than those that are searched


def make_tiny_clip(folder: Path, *, steps: int = 300) -> str:
    """Write a model in the layout of the hub to `folder`; return its name for backbone.name."""
    import open_clip

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model: Any = open_clip.CLIP(**CONFIG)
    model.token_embedding.requires_grad_(False)  # most of the weights; random vectors do
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, 2e-3)
    pixels, random = _training_images(), np.random.default_rng(0)
    tokens = open_clip.SimpleTokenizer(context_length=WORDS)(NAMES)
    for _ in range(steps):
        chosen = pixels[np.arange(len(NAMES)), random.integers(IMAGES, size=len(NAMES))]
        images, texts, _ = model(chosen, tokens)
        logits, targets = 20 * images @ texts.T, torch.arange(len(NAMES))
        losses = [torch.nn.functional.cross_entropy(each, targets) for each in (logits, logits.T)]
        optimizer.zero_grad()
        sum(losses, torch.zeros(())).backward()
        optimizer.step()
    folder.mkdir(parents=True)
    state = {name: each.contiguous() for name, each in model.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    return f"open_clip:local-dir:{folder}"


def write_models(name: str, folder: Path) -> None:
    """Write models/baseline as the stage `backbone` does, and a models/finetuned of it."""
    from pipeline.data.training_record import TrainingRecord, write_record

    baseline = build_baseline(name, image_size=SIDE, pooling="avg", weights="imagenet", seed=0)
    save_embedder(baseline, folder / "models/baseline")
    side = build_text_side(name, weights="imagenet", seed=0)
    assert side is not None
    save_text_side(side, folder / "models/baseline")
    finetuned = attach_head(baseline, name="linear", dim=16, hidden=0, normalize=True, seed=0)
    save_embedder(finetuned, folder / "models/finetuned")
    write_record(folder / "models/finetuned", TrainingRecord("finetuned", "it is a test", 3, {}))


def _training_images() -> torch.Tensor:
    """Return float32 [C, IMAGES, 3, SIDE, SIDE] of the C names."""
    import open_clip
    from torchvision.transforms.functional import normalize

    pixels = [
        resize_and_crop(decode(draw(*name.split(), 1000 + number)), SIDE, "bicubic")
        for name in NAMES
        for number in range(IMAGES)
    ]
    scaled = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    scaled = normalize(scaled, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    return scaled.reshape(len(NAMES), IMAGES, 3, SIDE, SIDE)

"""The text side of a model: texts as vectors in the space of its images' embeddings.

It is kept beside the model whose image side its weights were trained with, in a file of its own:
what only searches by images never reads it. Importing this imports open_clip (seconds).
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.data.arrays import Vectors
from pipeline.data.files import written_whole
from pipeline.data.lineage import TEXT_FILE, digest_model
from pipeline.errors import UserError
from pipeline.models import open_clip_library
from pipeline.models.backbones import OPEN_CLIP_PREFIX
from pipeline.models.embedder import SPEC_FILE, read_backbone_name
from pipeline.models.weights import StateDict, load_weights, read_weights, select_weights

MODEL_KEY = "lookalike.model"  # in the file: the digest of the model beside it
# How the names of tensors begin: of the image side, and of what only a text side has.
IMAGE_SIDE, TEXTS_BEGIN = "visual.", ("token_embedding.", "text.")

logger = logging.getLogger(__name__)


class TextSide(nn.Module):
    """Texts -> float32 [N, D], of unit length."""

    def __init__(self, network: nn.Module, tokenize: Callable[[list[str]], Tensor]) -> None:
        super().__init__()
        self.network = network
        self._tokenize = tokenize
        self._lock = Lock()  # some tokenizers set their own options at each call

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 [N, D] of N texts; a text that is too long for the model is cut short."""
        with torch.inference_mode():
            with self._lock:
                tokens = self._tokenize(list(texts))  # (N, L)
            encode = cast(Any, self.network).encode_text
            vectors: Vectors = encode(tokens, normalize=True).float().numpy()
        return vectors


def build_text_side(backbone: str, *, weights: str | Path | None, seed: int) -> TextSide | None:
    """Return the text side of a model that has one, on the CPU, in eval mode; None where a file of
    weights holds the image side alone.

    weights, seed: as in `backbones.build_backbone`.

    Raises:
        UserError: its weights or its tokenizer cannot be fetched, or do not fit.
    """
    name = backbone.removeprefix(OPEN_CLIP_PREFIX)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        whole = open_clip_library.build_model(name)
    state: StateDict | None = None
    if str(weights) == "imagenet":
        state = dict(open_clip_library.load_both_sides(name).state_dict())
    elif weights is not None:
        state = select_weights(read_weights(Path(weights)), whole)
    side = _take_text_side(name, whole)
    if state is not None:
        if not (texts := _texts_of(state)):
            logger.info("backbone.weights: %s holds no text side; images alone search", weights)
            return None
        load_weights(side.network, texts, where=f"backbone.weights: {weights} into {backbone}")
    return side


def save_text_side(side: TextSide, directory: Path) -> None:
    """Write text.safetensors beside the model in `directory`, which is written first."""
    tensors = {name: each.contiguous() for name, each in side.network.state_dict().items()}
    with written_whole(directory / TEXT_FILE) as (path,):
        save_file(tensors, path, {MODEL_KEY: digest_model(directory)})
        path.chmod((directory / SPEC_FILE).stat().st_mode)


def load_text_side(directory: Path) -> TextSide:
    """Return what `save_text_side` wrote, on the CPU, in eval mode.

    Raises:
        UserError: it is missing, damaged, or of another model than the one beside it.
    """
    path = directory / TEXT_FILE
    if not path.is_file():
        raise UserError(
            f"{path}: no such file: this model understands images alone; a backbone.name of "
            "open_clip understands text too (docs/seeing.md)"
        )
    tensors = read_weights(path)  # a damaged file is told before another's
    with safe_open(path, "pt") as file:
        made_for = (file.metadata() or {}).get(MODEL_KEY)
    if made_for != digest_model(directory):
        raise UserError(f"{path}: of another model than the one beside it; run: dvc checkout")
    name = read_backbone_name(directory).removeprefix(OPEN_CLIP_PREFIX)
    side = _take_text_side(name, open_clip_library.build_model(name))
    load_weights(side.network, tensors, where=str(path))
    return side


def _take_text_side(name: str, whole: Any) -> TextSide:
    """Return the text side of a model, whose image side is given up."""
    whole.visual = nn.Identity()
    return TextSide(whole.eval(), open_clip_library.build_tokenizer(name))


def _texts_of(state: StateDict) -> StateDict:
    """Return the tensors that are not of the image side; none where the words have none."""
    texts = {key: value for key, value in state.items() if not key.startswith(IMAGE_SIDE)}
    return texts if any(key.startswith(TEXTS_BEGIN) for key in texts) else {}

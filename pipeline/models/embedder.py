"""The model that embeds images: backbone, pooling, head; and its two files on disk."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.data.files import written_whole
from pipeline.errors import UserError
from pipeline.models.backbones import Backbone, build_backbone, preprocessing_of
from pipeline.models.heads import HEADS, POOLINGS
from pipeline.models.preprocessing import Preprocessing
from pipeline.models.weights import put_weights

WEIGHTS = "model.safetensors"
SPEC = "model.json"


@dataclass(frozen=True)
class HeadSpec:
    """`dim` and `hidden` are null where the head has none: "none" keeps the backbone's size."""

    name: str = "none"
    dim: int | None = None
    hidden: int | None = None


@dataclass(frozen=True, kw_only=True)
class Spec(Preprocessing):
    """All that is needed to build an embedder, but its weights; `model.json` holds it.

    `level` is null where the backbone has no feature pyramid.
    """

    backbone: str
    image_size: int
    pooling: str
    level: int | str | None
    head: HeadSpec = HeadSpec()
    normalize: bool = True


class Embedder(nn.Module):
    """Images, float [B, 3, H, W] as `preprocessing.normalize` gives them -> float32 [B, dim].

    The backbone runs in whatever autocast is on; what follows it is always float32, since
    pooling and normalisation lose in bf16 what the backbone has found.
    """

    def __init__(self, spec: Spec, backbone: Backbone, pool: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone
        self.pool = pool
        self.head = head
        self.normalize = spec.normalize
        self.dim = spec.head.dim or backbone.features

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone(x)  # (B, C, h, w) or (B, F)
        with torch.autocast(x.device.type, enabled=False):
            x = self.pool(x.float())  # (B, F)
            x = self.head(self.backbone.after_pool(x))  # (B, D)
            return nn.functional.normalize(x, dim=1) if self.normalize else x


def build_baseline(
    name: str,
    *,
    image_size: int,
    pooling: str,
    weights: str | Path | None,
    seed: int,
    level: int | str | None = None,
) -> Embedder:
    """Return a pretrained network as an embedder: pooled features, no head, normalised.

    Raises:
        UserError: as `backbones.build_backbone`.
    """
    backbone = build_backbone(
        name, image_size, pooling=pooling, level=level, weights=weights, seed=seed
    )
    spec = Spec(
        backbone=name,
        image_size=image_size,
        pooling=pooling,
        level=backbone.level,
        **asdict(preprocessing_of(name)),
    )
    return _assemble(spec, backbone).eval()


def build(spec: Spec) -> Embedder:
    """Return the embedder of `spec` with random weights, in eval mode."""
    backbone = build_backbone(
        spec.backbone, spec.image_size, pooling=spec.pooling, level=spec.level
    )
    with torch.random.fork_rng(devices=[]):
        return _assemble(spec, backbone).eval()


def _assemble(spec: Spec, backbone: Backbone) -> Embedder:
    pool = POOLINGS[spec.pooling]() if backbone.spatial else nn.Identity()
    head = HEADS[spec.head.name](backbone.features, spec.head.dim or 0, spec.head.hidden or 0)
    return Embedder(spec, backbone, pool, head)


def attach_head(
    baseline: Embedder, *, name: str, dim: int, hidden: int, normalize: bool, seed: int
) -> Embedder:
    """Return an embedder of the baseline's backbone and pooling (shared) and a fresh head.

    The head's weights are drawn from `seed`. "none" has no weights and keeps the backbone's
    size; then `dim` and `hidden` mean nothing, as `hidden` does for "linear".
    """
    head_spec = HeadSpec(
        name,
        dim=None if name == "none" else dim,
        hidden=hidden if name == "mlp" else None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = HEADS[name](baseline.backbone.features, dim, hidden)
    spec = replace(baseline.spec, head=head_spec, normalize=normalize)
    return Embedder(spec, baseline.backbone, baseline.pool, head)


def save(model: Embedder, directory: Path) -> None:
    """Write model.safetensors and model.json to `directory`, both or neither.

    Equal weights give equal bytes.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    text = json.dumps(asdict(model.spec), indent=2) + "\n"
    with written_whole(directory / WEIGHTS, directory / SPEC) as (weights, spec):
        spec.write_text(text, encoding="utf-8")
        save_file(tensors, weights)
        # safetensors lets nobody but the owner read what it writes.
        shutil.copymode(spec, weights)


def load(directory: Path) -> Embedder:
    """Return the embedder that `save` wrote, on the CPU, in eval mode.

    Raises:
        UserError: a file is missing or damaged, or the weights are not those of the spec.
    """
    for name in (SPEC, WEIGHTS):
        if not (directory / name).is_file():
            raise UserError(
                f"{directory / name}: no such file; a model is a directory with {SPEC} and "
                f"{WEIGHTS}; run: dvc repro"
            )
    model = build(_read_spec(directory / SPEC))
    try:
        state = load_file(directory / WEIGHTS)
    except SafetensorError as error:
        raise UserError(f"{directory / WEIGHTS}: damaged ({error}); run: dvc repro") from None
    put_weights(model, state, where=str(directory / WEIGHTS))
    return model


def _read_spec(path: Path) -> Spec:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        held |= {"head": HeadSpec(**held["head"])}
        held |= {name: tuple(held[name]) for name in ("mean", "std")}
        return Spec(**held)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not a model's description ({error}); run: dvc repro") from None

"""The embedder: backbone, pooling and head as one model, and its two files on disk."""

import json
import math
import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from annotated_types import Ge, Le
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.data.arrays import Vectors
from pipeline.data.digests import digest_file
from pipeline.data.files import written_whole
from pipeline.data.json_files import read_json
from pipeline.errors import UserError, name_choices
from pipeline.models.backbones import Backbone, build_backbone, find_preprocessing
from pipeline.models.heads import HEADS, HeadSpec, make_head, used_options
from pipeline.models.pca import principal_axes
from pipeline.models.pooling import POOLINGS
from pipeline.models.preprocessing import INTERPOLATIONS, Preprocessing
from pipeline.models.weights import load_weights

WEIGHTS_FILE = "model.safetensors"
SPEC_FILE = "model.json"
DESCRIPTION = "a model's description"

Level = Literal[0, 1, 2, 3, "pool"] | None  # of a feature pyramid
HeadInput = Literal["features", "embedding"]


@dataclass(frozen=True, kw_only=True)
class EmbedderSpec(Preprocessing):
    """All that is needed to build an embedder, except its weights; `model.json` holds it.

    `level` is null if the backbone has no feature pyramid. `pretrained`: whether its first weights
    were trained, not random. `trained_in`: the precision of the training, fp32 or bf16; null for a
    baseline. `head_input`: what the head takes: the pooled features, or the baseline's embedding,
    which is their direction.
    """

    backbone: str
    image_size: Annotated[int, Ge(1), Le(2**13)]
    pooling: str
    level: Level
    head: HeadSpec = field(default_factory=HeadSpec)
    normalize: bool = True
    pretrained: bool = False
    trained_in: str | None = None
    head_input: HeadInput = "features"


@dataclass(frozen=True, kw_only=True)
class _SavedSpec(EmbedderSpec):
    """What model.json holds: the spec, and a digest of it and of the weights."""

    digest: str


class Embedder(nn.Module):
    """Images, float [B, 3, H, W] as `normalize_pixels` returns them -> float32 [B, dim].

    The backbone runs in the caller's autocast. All later steps run in float32, because pooling
    and L2 normalisation in bf16 lose precision.
    """

    def __init__(
        self, spec: EmbedderSpec, backbone: Backbone, pool: nn.Module, head: nn.Module
    ) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone
        self.pool = pool
        self.head = head
        self.normalize = spec.normalize
        self.dim = spec.head.dim or backbone.feature_dim
        self.on_embedding = spec.head_input == "embedding"

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone(x)  # (B, C, h, w) or (B, F)
        with torch.autocast(x.device.type, enabled=False):
            x = self.backbone.after_pool(self.pool(x.float()))  # (B, F)
            return self.project(nn.functional.normalize(x, dim=1) if self.on_embedding else x)

    def project(self, x: Tensor) -> Tensor:
        """Return float32 [B, dim] of what the head takes, float32 [B, F] (see `EmbedderSpec`).

        An embedding has length 1; it is made as long as features are that vary by 1 in each of
        their F dimensions, which suits the weights and rates that suit features.
        """
        x = self.head(x * math.sqrt(x.shape[1]) if self.on_embedding else x)
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
    """Return a pretrained network as an embedder: pooled features, no head, L2-normalised.

    Raises:
        UserError: as `backbones.build_backbone`.
    """
    backbone = build_backbone(
        name, image_size, pooling=pooling, level=level, weights=weights, seed=seed
    )
    spec = EmbedderSpec(
        backbone=name,
        image_size=image_size,
        pooling=pooling,
        level=cast(Level, backbone.level),
        pretrained=weights is not None,
        **asdict(find_preprocessing(name)),
    )
    return _assemble(spec, backbone).eval()


def build_embedder(spec: EmbedderSpec) -> Embedder:
    """Return the embedder of `spec` with random weights, in eval mode."""
    backbone = build_backbone(
        spec.backbone, spec.image_size, pooling=spec.pooling, level=spec.level
    )
    with torch.random.fork_rng(devices=[]):
        return _assemble(spec, backbone).eval()


def _assemble(spec: EmbedderSpec, backbone: Backbone, pool: nn.Module | None = None) -> Embedder:
    pool = pool or (POOLINGS[spec.pooling]() if backbone.has_map else nn.Identity())
    head = make_head(spec.head).build(backbone.feature_dim)
    return Embedder(spec, backbone, pool, head)


def attach_head(
    baseline: Embedder,
    *,
    name: str,
    normalize: bool,
    seed: int,
    init: str = "random",
    vectors: Vectors | None = None,
    head_input: HeadInput = "features",
    **options: int,
) -> Embedder:
    """Return an embedder of the baseline's backbone and pooling (shared) and a new head.

    init: "random": the head's weights are sampled from `seed`. "pca": those of a linear head are
    the principal axes of `vectors`, so that training begins with the baseline's ranking, as far as
    `dim` dimensions hold it; another kind of head is random.
    vectors: float32 [N, F], the baseline's embeddings of training images; for "pca".
    head_input: as of `EmbedderSpec`.
    options: those of any head (the fields of `HeadSpec` but the name), of which it uses its own.
    """
    head_spec = used_options(HeadSpec(name, **options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = make_head(head_spec).build(baseline.backbone.feature_dim)
    if init == "pca" and isinstance(head, nn.Linear):
        if vectors is None:
            raise ValueError("the principal axes of no vectors")
        axes = principal_axes(vectors, head.out_features, seed=seed)
        head.load_state_dict({"weight": torch.from_numpy(axes), "bias": torch.zeros(len(axes))})
    spec = replace(baseline.spec, head=head_spec, normalize=normalize, head_input=head_input)
    return Embedder(spec, baseline.backbone, baseline.pool, head)


def has_head_on_embedding(directory: Path) -> bool:
    """Return whether the head of a model takes the baseline's embedding; its weights are not read.

    Raises:
        UserError: its description cannot be read.
    """
    saved = read_json(directory / SPEC_FILE, _SavedSpec, what=DESCRIPTION)
    return saved.head_input == "embedding"


def read_backbone_name(directory: Path) -> str:
    """Return the name of a model's backbone; its weights are not read.

    Raises:
        UserError: its description cannot be read.
    """
    return read_json(directory / SPEC_FILE, _SavedSpec, what=DESCRIPTION).backbone


def without_head(model: Embedder) -> Embedder:
    """Return the baseline of a model whose head takes the baseline's embedding."""
    if not model.on_embedding:
        raise ValueError("a head on features that were trained with it")
    spec = replace(
        model.spec, head=HeadSpec(), normalize=True, head_input="features", trained_in=None
    )
    return _assemble(spec, model.backbone, model.pool)


def save_embedder(model: Embedder, directory: Path) -> None:
    """Write model.safetensors and model.json to `directory`, both whole or neither.

    Equal weights give equal bytes.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    with written_whole(directory / WEIGHTS_FILE, directory / SPEC_FILE) as (weights, spec):
        save_file(tensors, weights)
        saved = _describe(model.spec) | {"digest": _digest(model.spec, weights)}
        spec.write_text(json.dumps(saved, indent=2) + "\n", encoding="utf-8")
        # safetensors makes files that only their owner can read.
        shutil.copymode(spec, weights)


def load_embedder(directory: Path) -> Embedder:
    """Return the embedder that `save_embedder` wrote, on the CPU, in eval mode.

    Raises:
        UserError: a file is missing or not as it was written, or the weights do not fit the spec.
    """
    for name in (SPEC_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise UserError(
                f"{directory / name}: no such file; a model is a directory with {SPEC_FILE} and "
                f"{WEIGHTS_FILE}; run: dvc repro"
            )
    path = directory / WEIGHTS_FILE
    model = build_embedder(_read_spec(directory / SPEC_FILE, path))
    load_weights(model, load_file(path), where=str(path))
    return model


def _describe(spec: EmbedderSpec) -> dict[str, Any]:
    """Return what model.json says of `spec`: of `head_input` nothing where it is as it always was,
    so that models of earlier releases have the digest that they had."""
    described = asdict(spec)
    if spec.head_input == "features":
        del described["head_input"]
    return described


def _digest(spec: EmbedderSpec, weights: Path) -> str:
    """Return 64 hex digits that change with a spec and the content of a file of weights."""
    text = json.dumps(_describe(spec), sort_keys=True)
    return sha256(f"{text}\n{digest_file(weights)}".encode()).hexdigest()


def _read_spec(path: Path, weights: Path) -> EmbedderSpec:
    """Return the spec at `path`, after checking that it and the weights are as they were written:
    a changed weight is a weight like any other."""
    saved = read_json(path, _SavedSpec, what=DESCRIPTION)
    spec = EmbedderSpec(**{each.name: getattr(saved, each.name) for each in fields(EmbedderSpec)})
    if saved.digest != _digest(spec, weights):
        raise UserError(
            f"{path}: its digest is not that of it and {weights.name}: one of them is damaged, or "
            "they are of two models; run: dvc checkout, or if that does not help: dvc repro"
        )
    for key, found, allowed in (
        ("pooling", spec.pooling, POOLINGS),
        ("interpolation", spec.interpolation, INTERPOLATIONS),
        ("head.name", spec.head.name, HEADS),
    ):
        if found not in allowed:
            raise UserError(f"{path}: {key}: {name_choices(found, allowed)}; run: dvc checkout")
    lacking = [key for key, value in asdict(make_head(spec.head)).items() if value is None]
    if lacking:
        raise UserError(f"{path}: head.{lacking[0]}: found null; run: dvc checkout")
    return spec

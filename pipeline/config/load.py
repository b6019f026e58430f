"""params.yaml as checked, typed values. Every mistake in it is told before any work begins."""

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen
from pydantic import AfterValidator, GetPydanticSchema, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.config.choices import Amount, Choice, Count, Section, Share, choice
from pipeline.config.contradictions import find_contradictions
from pipeline.datasets import DATASETS
from pipeline.errors import UserError, name_choices
from pipeline.training.batches import BATCHES
from pipeline.training.losses import LOSSES
from pipeline.training.miners import MINERS
from pipeline.training.optimizers import OPTIMIZERS, SCHEDULERS

# What the reader throws: of "2020-13-45" a plain ValueError, of "!!bool a" a KeyError.
NOT_YAML = (YAMLError, ValueError, KeyError)

Precision = Literal["auto", "fp32", "bf16"]
Monitor = Literal[
    "map", "map_at_r", "macro_map", "r_precision", "mrr", "recall_at_1", "recall_at_5"
]
Fraction = Annotated[float, Gt(0), Lt(1)]
Seed = Annotated[int, Ge(0), Lt(2**31)]  # what numpy, torch and faiss all take


class DownloadParams(Section):
    max_side: Count | None
    max_rejected: Share


class SplitParams(Section):
    protocol: Literal["auto", "official", "class_disjoint", "random"]
    test_fraction: Fraction
    val_by: Literal["auto", "class", "image"]
    val_fraction: Fraction


class BackboneParams(Section):
    name: str
    weights: str | None
    image_size: Annotated[int, Ge(8)]
    pooling: Literal["avg", "gem", "flatten"]
    level: Literal[0, 1, 2, 3, "pool"]


class MineParams(Section):
    method: Literal["embeddings", "labels"]
    positives: Literal["hard", "easy", "random"]
    negatives: Literal["hard", "semi_hard", "random"]
    hard: bool
    pool: Count | None
    per_anchor: Count


class HeadParams(Section):
    name: Literal["linear", "mlp", "none"]
    dim: Count
    hidden: Count
    normalize: bool


def _hue_in_range(jitter: list[float]) -> list[float]:
    if jitter[3] > 0.5:
        text = f"found hue {jitter[3]}, the fourth; allowed: at most 0.5, half the colour wheel"
        raise PydanticCustomError("told", "{text}", {"text": text})
    return jitter


class AugmentParams(Section):
    crop: Annotated[list[Annotated[float, Gt(0), Le(1)]], Len(2, 2)] | None
    hflip: Share
    jitter: Annotated[list[Share], Len(4, 4), AfterValidator(_hue_in_range)] | None


class TrainParams(Section):
    seed: Seed | None
    epochs: Count
    steps: Count | None
    patience: Count | None
    monitor: Monitor
    precision: Precision
    freeze: Literal["none", "batch_norm", "backbone"]
    cross_batch_memory: Amount
    chunk_size: Count | None
    workers: Amount
    augment: AugmentParams


class EmbedParams(Section):
    batch_size: Count
    hflip: bool
    precision: Precision
    workers: Amount


class IndexParams(Section):
    factory: str
    distance: Literal["cosine", "euclidean"]


class NearDuplicateParams(Section):
    cosine: Annotated[float, Ge(-1), Le(1)]
    bits: Annotated[int, Ge(0), Le(64)]


class EvaluateParams(Section):
    k: Annotated[list[Count], MinLen(1)]
    knn: Annotated[list[Count], MinLen(1)]
    neighbors: Count
    triplets: Count
    bootstrap: Annotated[int, Ge(100)]
    failure_k: Count
    near_duplicate: NearDuplicateParams


class PlotParams(Section):
    points: Count
    rows: Count
    columns: Count


class TrackParams(Section):
    experiment: str


class DataParams(Choice[Any]):
    """`source` is a folder or an archive on this machine; the blocks are the datasets' own."""

    source: str


# The models of the sections that choose, their blocks made from the tables beside the code.
CHOICES: dict[str, type[Choice[Any]]] = {
    "data": choice(DataParams, {name: module.OPTIONS for name, module in DATASETS.items()}),
    "loss": choice(Choice, {name: loss.options for name, loss in LOSSES.items()}),
    "miner": choice(Choice, {name: miner.options for name, miner in MINERS.items()}),
    "batches": choice(Choice, BATCHES),
    "optimizer": choice(Choice, OPTIMIZERS),
    "scheduler": choice(Choice, SCHEDULERS),
}


def _choosing(section: str) -> GetPydanticSchema:
    return GetPydanticSchema(lambda _, handler: handler(CHOICES[section]))


class Params(Section):
    """The whole of params.yaml."""

    seed: Seed
    launch: str
    data: Annotated[DataParams, _choosing("data")]
    download: DownloadParams
    split: SplitParams
    backbone: BackboneParams
    mine: MineParams
    head: HeadParams
    loss: Annotated[Choice[Any], _choosing("loss")]
    miner: Annotated[Choice[Any], _choosing("miner")]
    batches: Annotated[Choice[Any], _choosing("batches")]
    optimizer: Annotated[Choice[Any], _choosing("optimizer")]
    scheduler: Annotated[Choice[Any], _choosing("scheduler")]
    train: TrainParams
    embed: EmbedParams
    index: IndexParams
    evaluate: EvaluateParams
    plot: PlotParams
    track: TrackParams

    @property
    def training_seed(self) -> int:
        """What head, batches and augmentation are drawn from."""
        return self.seed if self.train.seed is None else self.train.seed


def read_params(path: Path) -> Params:
    """Return the checked params in the YAML file at `path`.

    Raises:
        UserError: the file is missing or is not YAML, a key is unknown or missing, a value has the
            wrong type or range, or two choices cannot go together. The text names the key, what
            was found and what is allowed.
    """
    return check_params(read_yaml(path), where=path.name)


def read_yaml(path: Path) -> Any:
    """Return the plain values of a YAML 1.2 file, as DVC reads it (so 1e-3 is a number)."""
    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such file; run from the root of the project") from None
    except NOT_YAML as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def check_params(values: Any, *, where: str) -> Params:
    """Return `values` (plain, as read from YAML) as Params; raises as `read_params` does."""
    params = check_values(values, where=where)
    for problem in find_contradictions(params):
        raise UserError(f"{where}: {problem}")
    return params


def check_values(values: Any, *, where: str) -> Params:
    """Like `check_params`, but of each value alone: whether they go together is not looked at."""
    try:
        return Params.model_validate(values)
    except ValidationError as failure:
        # A misspelt key is also a missing one, and its own line is the one that helps.
        errors = sorted(failure.errors(), key=lambda error: error["type"] != "extra_forbidden")
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise UserError(f"{where}: {_tell(errors[0])}{more}") from None


_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a mapping of keys",
}


def _tell(error: ErrorDetails) -> str:
    place = list(error["loc"])
    key = ".".join(str(part) for part in place) or "all of it"
    found = f"found {error['input']!r}"
    match error["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; {_keys_beside(place)}"
        case "missing":
            return f"{key}: missing; every key of params.yaml has a value there"
        case "told":
            return f"{key}: {error['msg']}"
        case "choice":
            return f"{key}.name: {error['msg']}"
        case "literal_error":
            return f"{key}: {name_choices(error['input'], _quoted(error['ctx']['expected']))}"
        case "too_short":
            return f"{key}: {found}; allowed: at least {error['ctx']['min_length']} items"
        case "too_long":
            return f"{key}: {found}; allowed: at most {error['ctx']['max_length']} items"
        case kind if kind in _KINDS:
            return f"{key}: {found} ({type(error['input']).__name__}); allowed: {_KINDS[kind]}"
    return f"{key}: {found}; {error['msg'].removeprefix('Input ').replace('should be', 'allowed:')}"


def _quoted(expected: str) -> list[str]:
    return [name.strip("'") for name in expected.replace(" or ", ", ").split(", ")]


def _keys_beside(place: list[int | str]) -> str:
    model: Any = Params
    for part in place[:-1]:
        model = CHOICES.get(str(part)) or model.model_fields[part].annotation
    return name_choices(str(place[-1]), model.model_fields)

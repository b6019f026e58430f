"""params.yaml as typed values: its sections and their keys."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AfterValidator, GetPydanticSchema
from pydantic_core import PydanticCustomError

from pipeline.datasets import DATASETS
from pipeline.errors import name_choices
from pipeline.index.postprocessing_options import POSTPROCESSING
from pipeline.options import (
    Amount,
    AutoBuckets,
    AutoFraction,
    AutoSide,
    Choice,
    Count,
    Counts,
    Lengths,
    Positive,
    Processes,
    Section,
    Share,
    Width,
    choice,
)
from pipeline.training.batches import BATCHES, Batches
from pipeline.training.losses import LOSSES, Loss
from pipeline.training.miners import MINERS, Miner
from pipeline.training.optimizers import OPTIMIZERS, SCHEDULERS, Optimizer, Scheduler
from pipeline.training.validation_metrics import VALIDATION_METRICS

Precision = Literal["auto", "fp32", "bf16"]
Bits = Literal["portable", "fast"]
Fraction = Annotated[float, Gt(0), Lt(1)]
Lines = Annotated[int, Ge(1), Le(1000)]  # of a sheet
Neighbors = Annotated[int, Ge(1), Le(10_000)]
Seed = Annotated[int, Ge(0), Lt(2**31)]  # what numpy, torch and faiss all take


class DownloadParams(Section):
    max_side: Count | None
    max_rejected: Share


class AddedParams(Section):
    """source: a folder or an archive of images without labels."""

    source: str


class SplitParams(Section):
    protocol: Literal["auto", "official", "class_disjoint", "random", "test_only"]
    test_fraction: Fraction
    val_by: Literal["auto", "class", "image"]
    val_fraction: AutoFraction


class BackboneParams(Section):
    name: str
    weights: str | None
    image_size: AutoSide
    pooling: Literal["avg", "gem", "flatten"]
    level: Literal[0, 1, 2, 3, "pool"]


class MineParams(Section):
    method: Literal["embeddings", "labels"]
    positives: Literal["hard", "easy", "random"]
    negatives: Literal["hard", "semi_hard", "random"]
    candidates: Count | None
    hard: bool
    pool: Count | None
    per_anchor: Count
    refresh: Count | None


class HeadParams(Section):
    name: Literal["linear", "mlp", "none"]
    dim: Width
    hidden: Width
    init: Literal["pca", "random"]
    normalize: bool


def _hue_in_range(jitter: list[float]) -> list[float]:
    if jitter[3] > 0.5:
        text = f"found hue {jitter[3]}, the fourth; allowed: at most 0.5, half the color wheel"
        raise PydanticCustomError("message", "{text}", {"text": text})
    return jitter


class AugmentParams(Section):
    crop: Annotated[list[Annotated[float, Gt(0), Le(1)]], Len(2, 2)] | None
    hflip: Share
    jitter: Annotated[list[Share], Len(4, 4), AfterValidator(_hue_in_range)] | None
    rand_augment: Annotated[list[Annotated[int, Ge(1), Le(30)]], Len(2, 2)] | None
    erase: Share


def _is_measured(monitor: str) -> str:
    if monitor not in VALIDATION_METRICS:
        text = name_choices(monitor, VALIDATION_METRICS)
        raise PydanticCustomError("message", "{text}", {"text": text})
    return monitor


# Least of pairs of a class, most of others.
Cosines = Annotated[list[Annotated[float, Ge(-1), Le(1)]], Len(2, 2)]


class TrainParams(Section):
    seed: Seed | None
    epochs: Count
    steps: Count | None
    patience: Count | None
    monitor: Annotated[str, AfterValidator(_is_measured)]
    precision: Precision
    freeze: Literal["none", "batch_norm", "backbone"]
    freeze_layers: Amount
    head_epochs: Amount
    ema: Fraction | None
    clip: Positive | None
    lora: Count | None
    nested: Lengths
    consistent_margin: Cosines | None
    cross_batch_memory: Amount
    chunk_size: Count | None
    workers: Processes
    augment: AugmentParams


class EmbedParams(Section):
    batch_size: Count
    hflip: bool
    precision: Precision
    workers: Processes


class IndexParams(Section):
    factory: str
    recall: Share
    distance: Literal["cosine", "euclidean"]


class NearDuplicateParams(Section):
    cosine: Annotated[float, Ge(-1), Le(1)]
    bits: Annotated[int, Ge(0), Le(64)]


class EvaluateParams(Section):
    queries: Count | None
    k: Counts
    knn: Counts
    neighbors: Neighbors
    triplets: Count
    bootstrap: Annotated[int, Ge(100), Le(10**6)]
    failure_k: Count
    false_match_rate: Fraction
    near_duplicate: NearDuplicateParams


class PlotParams(Section):
    points: Count
    rows: Lines
    columns: Lines


class TrackParams(Section):
    experiment: str
    system_metrics: bool


def _power_of_two(number: int | str) -> int | str:
    if isinstance(number, int) and number & (number - 1):
        text = f"found {number}; allowed: auto or a power of 2, as 256"
        raise PydanticCustomError("message", "{text}", {"text": text})
    return number


class DataParams(Choice[Section]):
    """source: a folder or an archive on this machine. buckets: how many the images are divided
    into. Each dataset has a block."""

    source: str
    buckets: Annotated[AutoBuckets, AfterValidator(_power_of_two)]


# The sections with a name and blocks; the options of each block are beside the code.
CHOICES: dict[str, type[Choice[Any]]] = {
    "data": choice(DataParams, {name: dataset.options for name, dataset in DATASETS.items()}),
    "loss": choice(Choice, LOSSES),
    "miner": choice(Choice, MINERS),
    "batches": choice(Choice, BATCHES),
    "optimizer": choice(Choice, OPTIMIZERS),
    "scheduler": choice(Choice, SCHEDULERS),
    "postprocess": choice(Choice, POSTPROCESSING),
}


def _choosing(section: str) -> GetPydanticSchema:
    return GetPydanticSchema(lambda _, handler: handler(CHOICES[section]))


class Params(Section):
    """The whole of params.yaml."""

    seed: Seed
    bits: Bits
    launch: str
    cluster: str | None
    models: list[str]
    variants: dict[str, dict[str, Any]]
    data: Annotated[DataParams, _choosing("data")]
    added: AddedParams
    download: DownloadParams
    split: SplitParams
    backbone: BackboneParams
    mine: MineParams
    head: HeadParams
    loss: Annotated[Choice[Loss], _choosing("loss")]
    miner: Annotated[Choice[Miner], _choosing("miner")]
    batches: Annotated[Choice[Batches], _choosing("batches")]
    optimizer: Annotated[Choice[Optimizer], _choosing("optimizer")]
    scheduler: Annotated[Choice[Scheduler], _choosing("scheduler")]
    train: TrainParams
    embed: EmbedParams
    postprocess: Annotated[Choice[Section], _choosing("postprocess")]
    index: IndexParams
    evaluate: EvaluateParams
    plot: PlotParams
    track: TrackParams

"""The training loop: batches in, the best epoch's embedder out. A killed run resumes."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from accelerate.utils import set_seed
from torch import Tensor

from pipeline.config.schema import Params
from pipeline.data.arrays import Vectors
from pipeline.errors import UserError
from pipeline.models.devices import make_deterministic
from pipeline.models.embedder import Embedder
from pipeline.progress import show_progress
from pipeline.stopping import unreached
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.low_rank import merge_low_rank
from pipeline.training.mining_again import is_due
from pipeline.training.seeds import epoch_seed
from pipeline.training.trainer import EpochMetrics, Trainer
from pipeline.training.training_data import TrainingData
from pipeline.training.validation_metrics import VALIDATION_METRICS

# The columns of the history.
HISTORY = pa.schema(
    [pa.field("epoch", pa.int64())]
    + [
        pa.field(name, pa.float64())
        for name in ("lr", "loss", *(f"val_{each}" for each in VALIDATION_METRICS))
    ]
)
# Fields of TrainingResult that the next process builds anew.
NOT_SAVED = ("model", "auto", "val_vectors")


@dataclass
class TrainingResult:
    """The embedder of the best epoch, and one row of metrics for each epoch.

    history: row e is of epoch e; epoch 0 is the model before the first one, which has neither loss
    nor learning rate. auto: what was chosen where params.yaml says so. val_vectors: float32
    [V, D], the embeddings of the validation images by the best epoch's embedder.
    """

    model: Embedder
    auto: dict[str, Any]
    best_epoch: int = 0
    best_value: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[EpochMetrics] = field(default_factory=list)
    val_vectors: Vectors = field(default_factory=lambda: np.empty((0, 0), np.float32))


def train(
    model: Embedder,
    data: TrainingData,
    params: Params,
    *,
    checkpoint: Checkpoint,
    on_epoch: Callable[[EpochMetrics], None],
) -> TrainingResult:
    """Train `model` (changed in place) and return its best epoch by `params.train.monitor`.

    The model as it was before the first epoch counts as epoch 0.

    The same data, params and machine give the same bits, interrupted or not: every epoch is
    seeded by its number, and `checkpoint` holds everything else that the next epoch needs.
    on_epoch: called with each epoch's metrics, those of epochs from a checkpoint too.

    Raises:
        UserError: the loss is not a number, or the batches do not fit the data.
    """
    make_deterministic()
    trainer = Trainer(model, data, params)
    trained = _resume(trainer, checkpoint)
    for known in trained.history:
        on_epoch(known)
    if not trained.history:
        _record(trained, trainer, {"epoch": 0} | trainer.validate())
        on_epoch(trained.history[0])
    begun = len(trained.history) - 1
    batches: Iterator[Any] | None = None
    for epoch in range(begun, params.train.epochs):
        if _is_early_end(trained, params.train.patience):
            break
        if is_due(params, epoch):
            trainer.mine(epoch)
            batches = None  # of the triplets before, which workers prepare ahead
        if batches is None:
            with unreached():
                batches = iter(trainer.loader(first_epoch=epoch))
        set_seed(epoch_seed(params, epoch))
        row: EpochMetrics = {"epoch": epoch + 1, "lr": trainer.rate()}
        row["loss"] = _train_epoch(trainer, batches, epoch)
        row |= trainer.validate()
        _record(trained, trainer, row)
        _save(trained, trainer, checkpoint)
        on_epoch(row)
    model.load_state_dict(trained.best_weights)
    merge_low_rank(model)
    trained.val_vectors = trainer.embed_validation()
    return trained


def _train_epoch(trainer: Trainer, batches: Iterator[Any], epoch: int) -> float:
    trainer.begin_epoch(epoch)
    total = 0.0
    steps = range(trainer.steps)
    for step in show_progress(steps, total=len(steps), what=f"epoch {epoch + 1}"):
        images, labels = next(batches)  # (B, …) as `Trainer.input` loads them, int64 (B,)
        loss = trainer.loss_with_gradient(images, labels)
        total += _finite(loss.item(), trainer, epoch=epoch, step=step)
        trainer.step()
    return total / trainer.steps


def _finite(loss: float, trainer: Trainer, *, epoch: int, step: int) -> float:
    if not math.isfinite(loss):
        name, rate = trainer.params.optimizer.name, trainer.optimizer_options.lr
        raise UserError(
            f"epoch {epoch + 1}, batch {step + 1}: the loss is {loss}; try a smaller "
            f"optimizer.{name}.lr (now {rate:g}), or train.precision fp32"
        )
    return loss


def _is_early_end(trained: TrainingResult, patience: int | None) -> bool:
    return patience is not None and len(trained.history) - 1 - trained.best_epoch >= patience


def _record(trained: TrainingResult, trainer: Trainer, row: EpochMetrics) -> None:
    trained.history.append(row)
    value = row[f"val_{trainer.params.train.monitor}"]
    if value > trained.best_value:
        trained.best_epoch, trained.best_value = int(row["epoch"]), value
        weights = trainer.kept.state_dict()
        trained.best_weights = {name: w.detach().cpu().clone() for name, w in weights.items()}


def _save(trained: TrainingResult, trainer: Trainer, checkpoint: Checkpoint) -> None:
    if trainer.accelerator.is_main_process:
        progress = {name: value for name, value in vars(trained).items() if name not in NOT_SAVED}
        checkpoint.save({"trainer": trainer.state(), "trained": progress})


def _resume(trainer: Trainer, checkpoint: Checkpoint) -> TrainingResult:
    state = checkpoint.load()
    if state is None:
        return TrainingResult(trainer.model, trainer.list_auto())
    before = deepcopy(trainer.state())
    try:
        trainer.restore(state["trainer"])
        return TrainingResult(trainer.model, trainer.list_auto(), **state["trained"])
    except MemoryError:
        raise
    except Exception as error:  # of another shape: whatever the first part that does not fit gives
        checkpoint.set_aside(error)
        trainer.restore(before)
        return TrainingResult(trainer.model, trainer.list_auto())

"""The training loop: batches in, the best epoch's embedder out. Killed, it goes on where it was."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pipeline.augmentation import TrainingPictures, build_augmentation
from pipeline.batches import Rows, draw_batches
from pipeline.checkpoints import Checkpoint
from pipeline.devices import find_device, make_deterministic, resolve_precision
from pipeline.embedder import Embedder
from pipeline.embedding import embed
from pipeline.errors import UserError
from pipeline.evaluation import measure
from pipeline.objective import Objective
from pipeline.optimizers import build_optimizer, rate_at
from pipeline.params import Params
from pipeline.preprocessing import normalize
from pipeline.training_data import TrainingData

Row = dict[str, float]
# Fixed, so that `evaluate.k`, which is for reports, never changes what is trained.
VALIDATION_K = (1, 5)


@dataclass
class Trained:
    """The embedder of the best epoch, and one row of figures an epoch."""

    model: Embedder
    best_epoch: int = 0
    best_value: float = -math.inf
    history: list[Row] = field(default_factory=list)


def train(
    model: Embedder,
    data: TrainingData,
    params: Params,
    *,
    checkpoint: Checkpoint,
    on_epoch: Callable[[Row], None] = lambda row: None,
) -> Trained:
    """Train `model` (changed in place) and return its best epoch by `params.train.monitor`.

    The same data, params and machine give the same bits, interrupted or not: every epoch is
    seeded by its number, and `checkpoint` holds all else that one epoch leaves to the next.

    Raises:
        UserError: the loss is not a number, or the batches do not fit the data.
    """
    make_deterministic()
    run = _Run(model, data, params)
    trained = run.restore(checkpoint.load())
    for row in trained.history:
        on_epoch(row)
    batches = iter(run.loader(first_epoch=len(trained.history)))
    for epoch in range(len(trained.history), params.train.epochs):
        if _is_over(trained, params.train.patience):
            break
        set_seed(params.seed * 1_000_003 + epoch)
        loss = _train_epoch(run, batches, epoch)
        row = {"epoch": epoch + 1, "loss": loss, "lr": run.rate(), **run.validate()}
        _note(trained, row, run, monitor=params.train.monitor)
        if run.accelerator.is_main_process:
            checkpoint.save(run.state(trained))
        on_epoch(row)
    run.model.load_state_dict(run.best)
    return trained


def _train_epoch(run: "_Run", batches: Iterator[Any], epoch: int) -> float:
    run.set_mode()
    total = 0.0
    for step in range(run.steps):
        pictures, labels = next(batches)
        embeddings = run.forward(run.scale(pictures))  # (B, D)
        loss: Tensor = run.objective(embeddings, labels.to(run.device))
        _require_finite(loss.item(), run.params, epoch=epoch, step=step)
        run.accelerator.backward(loss)
        run.optimizer.step()
        run.scheduler.step()
        run.optimizer.zero_grad()
        total += loss.item()
    return total / run.steps


def _require_finite(loss: float, params: Params, *, epoch: int, step: int) -> None:
    if not math.isfinite(loss):
        key = f"optimizer.{params.optimizer.name}.lr"
        raise UserError(
            f"epoch {epoch + 1}, batch {step + 1}: the loss is {loss}; try a smaller {key} "
            f"(now {params.optimizer.options['lr']:g}), or train.precision fp32"
        )


def _is_over(trained: Trained, patience: int | None) -> bool:
    return patience is not None and len(trained.history) - trained.best_epoch >= patience


def _note(trained: Trained, row: Row, run: "_Run", *, monitor: str) -> None:
    trained.history.append(row)
    if row[f"val_{monitor}"] > trained.best_value:
        trained.best_epoch, trained.best_value = int(row["epoch"]), row[f"val_{monitor}"]
        run.best = {name: value.detach().cpu().clone() for name, value in run.weights().items()}


class _Run:
    """All that changes while training runs, and how it is saved and restored."""

    def __init__(self, model: Embedder, data: TrainingData, params: Params) -> None:
        self.model, self.data, self.params = model, data, params
        self.device = find_device()
        self.precision = resolve_precision(params.train.precision, self.device)
        self.accelerator = Accelerator(
            cpu=self.device.type == "cpu",
            mixed_precision="bf16" if self.precision == torch.bfloat16 else "no",
        )
        self.device = self.accelerator.device
        self.steps = len(self._epoch_batches(0))
        set_seed(params.seed)
        classes = int(data.train_labels.max()) + 1
        self.objective = Objective(params, dim=model.dim, classes=classes).to(self.device)
        self._prepare()
        self.best: dict[str, Tensor] = {}

    def _prepare(self) -> None:
        params, model = self.params, self.model
        _freeze(model, params.train.freeze)
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(
            params.optimizer.name,
            params.optimizer.options,
            backbone=model.backbone,
            head=nn.ModuleList([model.pool, model.head]),
            loss=self.objective,
        )
        factor = rate_at(
            params.scheduler.name,
            params.scheduler.options,
            epochs=params.train.epochs,
            steps=self.steps,
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        self.forward = self.accelerator.prepare_model(model)

    def _epoch_batches(self, epoch: int) -> list[Rows]:
        params, data = self.params, self.data
        return draw_batches(
            params.batches.name,
            params.batches.options,
            labels=data.train_labels,
            triplets=data.triplets,
            steps=params.train.steps,
            seed=[params.seed, epoch],
        )

    def _draws(self, first_epoch: int) -> Iterator[list[tuple[int, int]]]:
        """Yield this process's slice of each batch to come: rows, and a seed for each showing."""
        share, rank = self.accelerator.num_processes, self.accelerator.process_index
        for epoch in range(first_epoch, self.params.train.epochs):
            seeds = np.random.default_rng([self.params.seed, epoch, 1])
            for rows in self._epoch_batches(epoch):
                if len(rows) % share:
                    raise UserError(
                        f"batches: found {len(rows)} pictures a batch for {share} processes; "
                        f"allowed: a multiple of {share}"
                    )
                shown = seeds.integers(2**63, size=len(rows))
                mine = slice(rank * len(rows) // share, (rank + 1) * len(rows) // share)
                yield list(zip(rows[mine].tolist(), shown[mine].tolist(), strict=True))

    def loader(self, *, first_epoch: int) -> DataLoader[Any]:
        """Return the batches of all epochs to come as one stream: no worker waits for an epoch."""
        train, spec = self.params.train, self.model.spec
        pictures = TrainingPictures(
            self.data.pictures,
            self.data.train_ids,
            self.data.train_labels,
            build_augmentation(
                train.augment,
                image_size=spec.image_size,
                interpolation=spec.interpolation,
            ),
        )
        draws = _Stream(partial(self._draws, first_epoch))
        return DataLoader(pictures, batch_sampler=draws, num_workers=train.workers)  # type: ignore[arg-type]

    def set_mode(self) -> None:
        """Put all in training mode but what is frozen."""
        self.forward.train()
        if self.params.train.freeze == "backbone":
            self.model.backbone.eval()
        if self.params.train.freeze == "batch_norm":
            for module in _batch_norms(self.model):
                module.eval()

    def scale(self, pixels: Tensor) -> Tensor:
        """Return uint8 [B, S, S, 3] as the network's input, float32 [B, 3, S, S]."""
        channels_last = pixels.to(self.device).permute(0, 3, 1, 2)  # (B, 3, S, S)
        return normalize(channels_last, self.model.spec)

    def validate(self) -> Row:
        """Return the validation figures, by the same code as the evaluate stage."""
        data = self.data
        vectors = embed(
            self.model,
            data.pictures,
            data.val_ids,
            batch_size=self.params.embed.batch_size,
            precision=self.precision,
            workers=self.params.train.workers,
            device=self.device,
        )
        everyone = np.ones(len(data.val_ids), dtype=bool)
        means = measure(
            vectors,
            data.val_labels,
            everyone,
            everyone,
            k=[k for k in VALIDATION_K if k < len(data.val_ids)],
            distance=self.params.index.distance,
        ).means
        return {f"val_{name}": means[name] for name in means if name != "queries"}

    def rate(self) -> float:
        """Return the learning rate of the first group at this moment."""
        return float(self.optimizer.param_groups[0]["lr"])

    def weights(self) -> dict[str, Tensor]:
        """Return the embedder's weights by name."""
        return self.model.state_dict()

    def state(self, trained: Trained) -> dict[str, Any]:
        """Return all that the next epoch needs from those before it."""
        return {
            "model": self.weights(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "best": self.best,
            "best_epoch": trained.best_epoch,
            "best_value": trained.best_value,
            "history": trained.history,
        }

    def restore(self, state: dict[str, Any] | None) -> Trained:
        """Take up `state`, where there is one, and return what was trained so far."""
        if state is None:
            return Trained(self.model)
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.best = state["best"]
        return Trained(self.model, state["best_epoch"], state["best_value"], state["history"])


class _Stream:
    """An iterable that begins anew each time, as DataLoader wants of a batch sampler."""

    def __init__(self, draw: Callable[[], Iterator[list[tuple[int, int]]]]) -> None:
        self.draw = draw

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.draw()


def _freeze(model: Embedder, what: str) -> None:
    frozen: list[nn.Module] = {
        "none": [],
        "batch_norm": list(_batch_norms(model)),
        "backbone": [model.backbone],
    }[what]
    for module in frozen:
        module.requires_grad_(False)


def _batch_norms(model: nn.Module) -> Iterator[nn.Module]:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
    return (module for module in model.modules() if isinstance(module, kinds))

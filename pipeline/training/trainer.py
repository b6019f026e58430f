"""What changes during training: how it is built, stepped, saved and restored."""

import math
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.config.contradictions import refuse_label_sets
from pipeline.config.schema import Params
from pipeline.data.arrays import Ints, Vectors
from pipeline.errors import UserError
from pipeline.evaluation.measure import measure
from pipeline.models.devices import (
    find_device,
    name_precision,
    resolve_precision,
)
from pipeline.models.embedder import Embedder
from pipeline.training.batches import Batches
from pipeline.training.freezing import freeze, frozen_parts
from pipeline.training.graded_losses import membership
from pipeline.training.gradient_cache import GradientCache
from pipeline.training.inputs import Samples, make_input
from pipeline.training.low_rank import add_low_rank
from pipeline.training.mining_again import mine_again
from pipeline.training.objective import NestedObjective, Objective
from pipeline.training.processes import (
    compute_once,
    count_processes,
    join_processes,
    refuse_uneven,
    share_batch_norm,
)
from pipeline.training.seeds import training_seed
from pipeline.training.training_data import TrainingData
from pipeline.training.validation_metrics import VALIDATION_K, VALIDATION_METRICS

EpochMetrics = dict[str, float]


class Trainer:
    """The model in training: its objective, optimizer and schedule, its batches and validation.

    steps: batches an epoch. forward: the model as accelerate runs it, in bf16 or on many devices.

    Raises:
        UserError: the images have several labels and the params name a loss, miner or memory
            that compares single labels; or the batches do not fit the data.
    """

    def __init__(self, model: Embedder, data: TrainingData, params: Params) -> None:
        self.model, self.data, self.params = model, data, params
        self.several_labels = not data.train_labels.single
        if self.several_labels:
            refuse_label_sets(params)
        self.batches: Batches = params.batches.options.fit(data.train_labels)
        self.optimizer_options = params.optimizer.options.fit(pretrained=model.spec.pretrained)
        self.device = find_device()
        self.precision = resolve_precision(params.train.precision, self.device)
        model.spec = replace(model.spec, trained_in=name_precision(self.precision))
        self.accelerator = Accelerator(
            cpu=self.device.type == "cpu",
            mixed_precision="bf16" if self.precision == torch.bfloat16 else "no",
        )
        self.device = self.accelerator.device
        self.triplets = data.triplets
        self.steps = len(next(self._epochs(params.train.steps)))
        self._head_alone = False
        set_seed(training_seed(params))
        self.objective = self._build_objective().to(self.device)
        self._prepare()

    def _build_objective(self) -> nn.Module:
        labels, nested = self.data.train_labels, self.params.train.nested
        graded = self.several_labels and not self.params.batches.options.mined
        options: dict[str, Any] = {
            "dim": self.model.dim,
            "classes": int(labels.values.max()) + 1,
            "members": membership(labels) if graded else None,
        }
        if not nested:
            return Objective(self.params, **options)
        if max(nested) >= self.model.dim:
            raise UserError(
                f"train.nested: found {max(nested)}; allowed: less than the length of the "
                f"embedding, {self.model.dim}"
            )
        return NestedObjective(self.params, lengths=nested, **options)

    def _prepare(self) -> None:
        params, model = self.params, self.model
        freeze(model, params.train)
        if params.train.lora is not None:
            add_low_rank(model, params.train.lora)
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = self.optimizer_options.build(
            backbone=model.backbone,
            head=nn.ModuleList([model.pool, model.head]),
            loss=self.objective,
        )
        factor = params.scheduler.options.factor_at(epochs=params.train.epochs, steps=self.steps)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        self._of_backbone = [each for each in model.backbone.parameters() if each.requires_grad]
        self._frozen = frozen_parts(model, params.train)
        self.average = _average(model, params.train.ema)
        self.input = make_input(model, self.data, params, self.device)
        self.forward = self.accelerator.prepare_model(self.input.network)

    def _epochs(self, steps: int | None) -> Iterator[list[Ints]]:
        """Yield the batches of each epoch. Those of a later one depend on those before it."""
        params, data = self.params, self.data
        return self.batches.epochs(
            data.train_labels, self.triplets, steps=steps, seed=training_seed(params)
        )

    def _samples(self, first_epoch: int) -> Iterator[Samples]:
        """Yield this process's slice of each batch: (row, augmentation seed) of each image."""
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        epochs = enumerate(islice(self._epochs(self.steps), self.params.train.epochs))
        for epoch, batches in islice(epochs, first_epoch, None):
            seeds = np.random.default_rng([training_seed(self.params), epoch, 1])
            for rows in batches:
                of_images = seeds.integers(2**63, size=len(rows))
                here = slice(rank * len(rows) // processes, (rank + 1) * len(rows) // processes)
                yield list(zip(rows[here].tolist(), of_images[here].tolist(), strict=True))

    def loader(self, *, first_epoch: int) -> Iterable[Any]:
        """Return the remaining epochs' batches as one stream: workers go on between epochs."""
        return self.input.load(partial(self._samples, first_epoch))

    def begin_epoch(self, epoch: int) -> None:
        """Put everything that is not frozen, or not yet trained, into training mode.

        epoch: its number, from 0.
        """
        self._head_alone = epoch < self.params.train.head_epochs
        self.forward.train()
        for part in [self.model.backbone] if self._head_alone else self._frozen:
            part.eval()
        if count_processes() == 1:  # several expect a gradient of each weight
            for weight in self._of_backbone:
                weight.requires_grad_(not self._head_alone)

    def loss_with_gradient(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch, its gradient added to that of each weight.

        images: [B, …], as `self.input` loads them. labels: int64 [B]. Returns a float scalar.
        """
        chunks = math.ceil(len(images) / (self.params.train.chunk_size or len(images)))
        parts = torch.tensor_split(images, chunks)
        batch = GradientCache(self.forward, self.input.to_network, parts)
        embeddings = batch.embed()  # (B, D)
        loss: Tensor = self.objective(embeddings, labels.to(self.device))
        self.accelerator.backward(loss)
        batch.backward(embeddings)
        return loss

    def step(self) -> None:
        """Change the weights by their gradients, and forget these."""
        if self._head_alone:
            for weight in self._of_backbone:
                weight.grad = None
        if (most := self.params.train.clip) is not None:
            nn.utils.clip_grad_norm_([*self.model.parameters(), *self.objective.parameters()], most)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def validate(self) -> EpochMetrics:
        """Return the validation metrics, by the same code as the evaluate stage.

        They are those of `kept`.
        """
        return compute_once(partial(self._measure, self._by_kept(self.input.embed_validation)))

    def mine(self, epoch: int) -> None:
        """Mine the triplets of this epoch and those after it, by `kept`. epoch: from 0."""
        vectors, labels = self._by_kept(self.input.embed_training), self.data.train_labels
        self.triplets = mine_again(vectors, labels, self.triplets, self.params, epoch=epoch)

    def _by_kept(self, embed: Callable[[], Vectors]) -> Vectors:
        if self.average is None:
            return embed()
        own = deepcopy(self.model.state_dict())
        self.model.load_state_dict(self.kept.state_dict())
        vectors = embed()
        self.model.load_state_dict(own)
        return vectors

    @property
    def kept(self) -> nn.Module:
        """The model that is kept: with a moving average of its weights, where that is asked for."""
        averaged: nn.Module = self.model if self.average is None else self.average.module
        return averaged

    def _measure(self, vectors: Vectors) -> EpochMetrics:
        val = self.data.val
        measured = measure(
            vectors,
            val.labels,
            val.is_query,
            val.is_gallery,
            k=VALIDATION_K,
            distance=self.params.index.distance,
        )
        means = measured.means | measured.by_class.macro_means()
        return {f"val_{name}": means[name] for name in VALIDATION_METRICS}

    def embed_validation(self) -> Vectors:
        """Return float32 [V, D], the embeddings of the validation images."""
        return self.input.embed_validation()

    def list_auto(self) -> dict[str, Any]:
        """Return dotted key -> value of what was chosen where params.yaml says `auto`."""
        params, chosen = self.params, {}
        for section, name, options, fitted in (
            ("batches", params.batches.name, params.batches.options, self.batches),
            ("optimizer", params.optimizer.name, params.optimizer.options, self.optimizer_options),
        ):
            for key in options.auto_keys():
                chosen[f"{section}.{name}.{key}"] = getattr(fitted, key)
        return chosen

    def rate(self) -> float:
        """Return the present learning rate of the first group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """Return everything that the next epoch needs from those before it."""
        state = {name: item.state_dict() for name, item in self._stateful().items()}
        mined = {} if self.params.mine.refresh is None else {"triplets": self.triplets}
        return state | {name: torch.from_numpy(rows) for name, rows in mined.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        for name, item in self._stateful().items():
            item.load_state_dict(state[name])
        if self.params.mine.refresh is not None:
            self.triplets = state["triplets"].numpy()

    def _stateful(self) -> dict[str, Any]:
        averaged = {} if self.average is None else {"average": self.average}
        return averaged | {
            "model": self.model,
            "objective": self.objective,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
        }


def prepare_processes(model: Embedder, data: TrainingData, params: Params) -> None:
    """Join the processes that train, if there are several, before any image is read.

    Raises:
        UserError: the batches cannot be shared out evenly, or the batch norm of the model cannot.
    """
    if (processes := count_processes()) == 1:
        return
    device, batches = find_device(), params.batches.options.fit(data.train_labels)
    epochs = batches.epochs(
        data.train_labels, data.triplets, steps=params.train.steps, seed=training_seed(params)
    )
    refuse_uneven(next(epochs), processes=processes)
    share_batch_norm(model, params.train.freeze, device=device)
    join_processes(device)


def _average(model: Embedder, decay: float | None) -> AveragedModel | None:
    if decay is None:
        return None
    moving: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    # With the statistics of trained batch norms: those of the last weights do not fit the average.
    return AveragedModel(model, multi_avg_fn=moving, use_buffers=True)

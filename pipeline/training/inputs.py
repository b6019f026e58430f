"""What training shows: augmented images to the network, or the baseline's embeddings to a head."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pipeline.config.schema import Params
from pipeline.data.arrays import Vectors
from pipeline.data.lineage import Lineage
from pipeline.models.devices import (
    find_device,
    name_precision,
    resolve_precision,
    usable_workers,
)
from pipeline.models.embed_images import embed_images
from pipeline.models.embedder import Embedder
from pipeline.models.preprocessing import least_side, normalize_pixels
from pipeline.training.augmentation import TrainingImages, build_augmentation
from pipeline.training.processes import gather_rows, own_share
from pipeline.training.training_data import Embedded, TrainingData

VALIDATION_BATCH = 128
# Of each image of a batch, its row and the seed of its augmentation.
Samples = list[tuple[int, int]]


class Input(Protocol):
    """What the images of a batch are for the part of the model that is trained."""

    @property
    def network(self) -> nn.Module:
        """That part: it takes what `to_network` returns of a batch, and returns its embeddings."""
        ...

    def load(self, sample: Callable[[], Iterator[Samples]]) -> Iterable[Any]:
        """Return the batches that `sample` yields, each with int64 [B], its targets."""
        ...

    def to_network(self, batch: Tensor) -> Tensor:
        """Return a batch, or a part of one, as the network takes it."""
        ...

    def embed_training(self) -> Vectors:
        """Return float32 [N, D], the embeddings of the training images, which nothing augments."""
        ...

    def embed_validation(self) -> Vectors:
        """Return float32 [V, D], the embeddings of the validation images."""
        ...


class ImageInput:
    """Augmented images, uint8 [B, S, S, 3], for the whole model."""

    def __init__(
        self, model: Embedder, data: TrainingData, params: Params, device: torch.device
    ) -> None:
        self._model = model
        self._data, self._params, self._device = data, params, device

    @property
    def network(self) -> nn.Module:
        return self._model

    def load(self, sample: Callable[[], Iterator[Samples]]) -> Iterable[Any]:
        train, spec = self._params.train, self._model.spec
        images = TrainingImages(
            self._data.images,
            self._data.train_ids,
            targets_of(self._data),
            build_augmentation(
                train.augment,
                image_size=spec.image_size,
                interpolation=spec.interpolation,
            ),
            side=least_side(spec.image_size, share=(train.augment.crop or [1.0])[0]),
        )
        return DataLoader(
            images,
            batch_sampler=_Stream(sample),  # type: ignore[arg-type]
            num_workers=usable_workers(train.workers),
            pin_memory=self._device.type == "cuda",
        )

    def to_network(self, batch: Tensor) -> Tensor:
        there = batch.to(self._device, non_blocking=True)
        return normalize_pixels(there.permute(0, 3, 1, 2), self._model.spec)  # (B, 3, S, S)

    def embed_training(self) -> Vectors:
        return _embed(self._model, self._data, self._data.train_ids, self._params, self._device)

    def embed_validation(self) -> Vectors:
        return embed_validation(self._model, self._data, self._params, device=self._device)


class EmbeddedInput:
    """The baseline's embeddings, float32 [B, F], for a head alone: no image is decoded."""

    def __init__(
        self, model: Embedder, data: TrainingData, embedded: Embedded, device: torch.device
    ):
        self._head = _HeadAlone(model)
        self._data, self._device = data, device
        self._train, self._val = torch.from_numpy(embedded.train), torch.from_numpy(embedded.val)

    @property
    def network(self) -> nn.Module:
        return self._head

    def load(self, sample: Callable[[], Iterator[Samples]]) -> Iterable[Any]:
        targets = torch.from_numpy(targets_of(self._data))
        for samples in sample():
            rows = torch.tensor([row for row, _ in samples])
            yield self._train[rows], targets[rows]

    def to_network(self, batch: Tensor) -> Tensor:
        return batch.to(self._device)

    def embed_training(self) -> Vectors:
        return self._embed(self._train)

    def embed_validation(self) -> Vectors:
        return self._embed(self._val)

    @torch.inference_mode()
    def _embed(self, embedded: Tensor) -> Vectors:
        self._head.eval()  # `Trainer.begin_epoch` sets what is trained back
        starts = range(0, len(embedded), VALIDATION_BATCH)
        parts = [self.to_network(embedded[at : at + VALIDATION_BATCH]) for at in starts]
        vectors: Vectors = torch.cat([self._head(part) for part in parts]).cpu().numpy()
        return vectors


class _HeadAlone(nn.Module):
    def __init__(self, model: Embedder) -> None:
        super().__init__()
        self.head = model.head
        self._project = model.project

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # as in the whole model
            return self._project(x)


def trains_on_embeddings(params: Params, model: Embedder, lineage: Lineage | None) -> bool:
    """Return whether training can take the baseline's embeddings in place of images.

    That is where the backbone and the pooling of `model` stay as they are, and so does each image;
    and where the embeddings (of `lineage`) were made as training would embed the images.
    """
    train = params.train
    unchanged = not any(value for _, value in train.augment)
    frozen = train.freeze == "backbone" and not list(model.pool.parameters())
    if lineage is None or not (frozen and unchanged):
        return False
    precision = name_precision(resolve_precision(train.precision, find_device()))
    return (lineage.hflip, lineage.precision) == (False, precision)


def make_input(model: Embedder, data: TrainingData, params: Params, device: torch.device) -> Input:
    """Return the baseline's embeddings where `data` has them, else the images."""
    if data.embedded is not None:
        return EmbeddedInput(model, data, data.embedded, device)
    return ImageInput(model, data, params, device)


def targets_of(data: TrainingData) -> Any:
    """Return int64 [N]: each training image's label; its row where images have several labels."""
    labels = data.train_labels
    return labels.first().astype(np.int64) if labels.single else np.arange(len(labels))


def embed_validation(
    model: Embedder, data: TrainingData, params: Params, *, device: torch.device
) -> Vectors:
    """Return float32 [V, D], the embeddings of the validation images by any model, all made alike.

    Each process embeds a share of them.
    """
    return _embed(model, data, data.val.ids, params, device)


def _embed(
    model: Embedder, data: TrainingData, ids: Sequence[str], params: Params, device: torch.device
) -> Vectors:
    share = own_share(len(ids), batch_size=VALIDATION_BATCH)
    vectors = embed_images(
        model,
        data.images,
        ids[share],
        batch_size=VALIDATION_BATCH,
        precision=resolve_precision(params.train.precision, device),
        workers=params.train.workers,
        device=device,
    )
    return gather_rows(vectors)


class _Stream:
    """An iterable that starts again each time, as DataLoader requires of a batch sampler."""

    def __init__(self, sample: Callable[[], Iterator[Samples]]) -> None:
        self.sample = sample

    def __iter__(self) -> Iterator[Samples]:
        return self.sample()

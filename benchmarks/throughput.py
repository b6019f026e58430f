"""How fast images are embedded and trained on: by the pipeline, the usual loop, the network alone.

    python -m benchmarks.throughput FOLDER                      # of images, a subfolder a class
    python -m benchmarks.throughput FOLDER --size 224 --backbone squeezenet1_0

In turns, so that a machine that gets slower is slower for all. `network` has its input in memory
already, in batches of 64; `pipeline` embeds packed images, as `embed` does; `usual` opens each file
with PIL and lets torchvision resize it, in a DataLoader of as many processes; `in memory`, where
there is no GPU, is the pipeline without decoding, so what nothing can be faster than. `train` is an
epoch of training, of which `waiting` is the share of the time in which no batch was ready. All in
fp32, by networks with random weights. Memory is the most that the process and its workers hold at a
time.
"""

import stages  # noqa: F401, I001 - first: it tells torch which bits to compute

import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import torch
import typer
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from typer import Option

from benchmarks.timing import memory_sampled, time_call
from pipeline.config.load import read_params
from pipeline.data.label_sets import LabelSets
from pipeline.data.packed_images import PackedImages
from pipeline.datasets.class_folders import is_image
from pipeline.datasets.source_image import SourceImage
from pipeline.machine import describe_machine
from pipeline.models.devices import find_device, make_deterministic, name_device, usable_workers
from pipeline.models.embed_images import (
    batches_of,
    embed_batch,
    embed_by_threads,
    embed_images,
    embed_pixels,
    images_at_once,
)
from pipeline.models.embedder import Embedder, build_baseline
from pipeline.packing.packing import Outputs, pack
from pipeline.training.trainer import Trainer
from pipeline.training.training_data import TrainingData, Validation

ROUNDS, BATCH = 3, 64
NAMES = ("images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet")
ROOT = Path(__file__).resolve().parent.parent


def main(
    folder: Path,
    size: Annotated[list[int], Option(help="pixels of the network's input")] = [96, 224],  # noqa: B006 - typer's
    backbone: Annotated[str, Option(help="as backbone.name")] = "timm:tf_efficientnet_lite0",
    images: Annotated[int, Option(help="how many are sampled")] = 512,
    workers: Annotated[int, Option(help="processes that decode, at most one a core")] = 16,
) -> None:
    make_deterministic()
    paths = sorted(path for path in folder.rglob("*") if is_image(path))
    paths = paths[:: max(1, len(paths) // images)][:images]
    load, processor = psutil.getloadavg()[0], describe_machine("portable")["processor"]
    print(f"{processor}, {usable_workers(64)} cores, {name_device(find_device())}, load {load:.1f}")
    print(f"{len(paths)} images, {backbone}, {usable_workers(workers)} workers")
    print("size  way        images/s  of network  seconds   MiB  waiting")
    with tempfile.TemporaryDirectory() as place:
        packed = pack_files(paths, folder, Path(place))
        for pixels in size:
            embedding = Embedding(backbone, pixels, packed, paths, usable_workers(workers))
            embedding.compare()
            time_training(embedding, folder)


def pack_files(paths: list[Path], folder: Path, place: Path) -> PackedImages:
    outputs = Outputs(*(place / name for name in NAMES))
    images = [
        SourceImage(path.relative_to(folder).as_posix(), ("a",), partial(Path.read_bytes, path))
        for path in paths
    ]
    pack(images, outputs, max_rejected=0.0)
    return PackedImages(outputs.images)


class Embedding:
    """The same images, embedded in several ways by the same network."""

    def __init__(
        self, backbone: str, size: int, packed: PackedImages, paths: list[Path], workers: int
    ) -> None:
        self.size, self.packed, self.paths, self.workers = size, packed, paths, workers
        self.device = find_device()
        model = build_baseline(backbone, image_size=size, pooling="avg", weights=None, seed=0)
        self.model: Embedder = model.to(self.device).to(memory_format=torch.channels_last)

    def compare(self) -> None:
        """Print a line for each way."""
        ways = {"network": self.by_network, "pipeline": self.by_pipeline, "usual": self.by_usual}
        if self.device.type == "cpu":
            ways["in memory"] = self.in_memory
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        peaks = dict.fromkeys(ways, 0.0)
        for name, way in ways.items():  # to sample memory takes time, so it is sampled in a round
            with memory_sampled() as samples:
                way()
            peaks[name] = max(samples)
        for name, way in [*ways.items()] * ROUNDS:
            seconds[name].append(time_call(way)[0])
        medians = {name: statistics.median(each) for name, each in seconds.items()}
        for name, taken in medians.items():
            share = medians["network"] / taken
            print(self.line(name, len(self.paths), taken, peaks[name], f"{share:.2f}"), flush=True)

    def line(self, name: str, images: int, taken: float, peak: float, share: str) -> str:
        rate = images / taken
        return f"{self.size:4}  {name:9} {rate:9.1f}  {share:>10}  {taken:7.2f} {peak:5.0f}"

    @torch.inference_mode()
    def by_network(self) -> None:
        pixels = torch.zeros(BATCH, self.size, self.size, 3, dtype=torch.uint8, device=self.device)
        self.model.eval()
        for start in range(0, len(self.paths), BATCH):
            embed_pixels(self.model, pixels[: len(self.paths) - start], hflip=False).cpu()

    def in_memory(self) -> None:
        embed = partial(embed_batch, self.model, BATCH, torch.float32, False)
        black = [np.zeros((self.size, self.size, 3), np.uint8)] * len(self.paths)
        batches = batches_of([len(black)], images_at_once(BATCH, self.size, self.device))
        for _ in embed_by_threads(embed, black, batches, self.workers, "in memory"):
            pass

    def by_pipeline(self) -> None:
        embed_images(
            self.model,
            self.packed,
            self.packed.ids,
            batch_size=BATCH,
            precision=torch.float32,
            workers=self.workers,
            device=self.device,
        )

    @torch.inference_mode()
    def by_usual(self) -> None:
        self.model.eval()
        files = Files(self.paths, self.size)
        loader = DataLoader(files, batch_size=BATCH, num_workers=self.workers)
        vectors = [self.model(pixels.to(self.device)).cpu().numpy() for pixels in loader]
        np.concatenate(vectors)


class Files(Dataset[torch.Tensor]):
    """The files of images, each as float [3, S, S]."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths = paths
        self.transform = v2.Compose(
            [
                v2.Resize(size),
                v2.CenterCrop(size),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        pixels: torch.Tensor = self.transform(Image.open(self.paths[row]).convert("RGB"))
        return pixels


def time_training(embedding: Embedding, folder: Path) -> None:
    """Print a line for an epoch of training, by params.yaml, the classes those of the folders."""
    params = read_params(ROOT / "params.yaml")
    train = params.train.model_copy(update={"workers": embedding.workers, "epochs": 2})
    params = params.model_copy(update={"train": train})
    classes = [path.relative_to(folder).parts[0] for path in embedding.paths]
    _, labels = np.unique(classes, return_inverse=True)
    sets = LabelSets(np.arange(len(labels) + 1), labels.astype(np.int32))
    ids = [path.relative_to(folder).as_posix() for path in embedding.paths]
    nobody = Validation([], sets.take(np.arange(0)), np.empty(0, bool), np.empty(0, bool))
    data = TrainingData(embedding.packed, ids, sets, nobody, np.empty((0, 3), np.int64))
    trainer = Trainer(embedding.model, data, params)
    batches = iter(trainer.loader(first_epoch=0))
    trainer.begin_epoch(0)
    with memory_sampled() as samples:  # an epoch that starts processes and chooses kernels too
        train_epoch(trainer, batches)
    started = time.perf_counter()
    waited, images = train_epoch(trainer, batches)
    if embedding.device.type == "cuda":
        torch.cuda.synchronize()
    taken = time.perf_counter() - started
    line = embedding.line("train", images, taken, max(samples), "")
    print(f"{line}  {waited / taken:7.3f}", flush=True)


def train_epoch(trainer: Trainer, batches: Iterator[Any]) -> tuple[float, int]:
    """Train for an epoch; return the seconds in which no batch was there, and the images."""
    waited, images = 0.0, 0
    for _ in range(trainer.steps):
        before = time.perf_counter()
        pixels, targets = next(batches)
        waited += time.perf_counter() - before
        images += len(pixels)
        trainer.loss_with_gradient(pixels, targets).item()
        trainer.step()
    return waited, images


if __name__ == "__main__":
    typer.run(main)

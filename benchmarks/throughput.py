"""How fast images are embedded: by the pipeline, by the usual loop, and by the network alone.

    python -m benchmarks.throughput FOLDER             # of images, or an archive of them
    python -m benchmarks.throughput FOLDER 96 224      # pixels of the network's input

In turns, so that a machine that gets slower is slower for all. `network` has its input in memory
already and is what nothing can be faster than; `pipeline` embeds packed images, as `embed` does;
`usual` opens each file with PIL and lets torchvision resize it, in a DataLoader of as many
processes. One size after another, the default backbone in fp32.
"""

import stages  # noqa: F401, I001 - first: it tells torch which bits to compute

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from pipeline.data.packed_images import PackedImages
from pipeline.datasets.class_folders import is_image
from pipeline.datasets.source_image import SourceImage
from pipeline.machine import describe_machine
from pipeline.models.devices import find_device, name_device
from pipeline.models.embed_images import embed_images, embed_pixels
from pipeline.models.embedder import Embedder, build_baseline
from pipeline.packing.packing import Outputs, pack

IMAGES, BATCH, WORKERS, ROUNDS = 512, 64, 2, 3
NAMES = ("images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet")
BACKBONE = "timm:tf_efficientnet_lite0"


def main() -> None:
    folder = Path(sys.argv[1])
    sizes = [int(text) for text in sys.argv[2:]] or [96, 224]
    paths = sorted(path for path in folder.rglob("*") if is_image(path))
    step = max(1, len(paths) // IMAGES)
    paths = paths[::step][:IMAGES]
    load = psutil.getloadavg()[0]
    print(f"{describe_machine('portable')['processor']}, {name_device(find_device())}, load {load}")
    print(f"{len(paths)} images; images a second, median of {ROUNDS}; share of the network alone")
    with tempfile.TemporaryDirectory() as place:
        outputs = Outputs(*(Path(place) / name for name in NAMES))
        images = [
            SourceImage(path.relative_to(folder).as_posix(), ("a",), partial(Path.read_bytes, path))
            for path in paths
        ]
        pack(images, outputs, max_rejected=0.0)
        packed = PackedImages(outputs.images)
        for size in sizes:
            compare(size, packed, paths)


def compare(size: int, packed: PackedImages, paths: list[Path]) -> None:
    model = build_baseline(BACKBONE, image_size=size, pooling="avg", weights=None, seed=0)
    ways: dict[str, Callable[[], object]] = {
        "network": partial(embed_tensors, model, size, len(paths)),
        "pipeline": partial(
            embed_images,
            model,
            packed,
            packed.ids,
            batch_size=BATCH,
            precision=torch.float32,
            workers=WORKERS,
            device=find_device(),
        ),
        "usual": partial(embed_files, model, size, paths),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in [*ways.items()] * (ROUNDS + 1):
        started = time.perf_counter()
        way()
        seconds[name].append(time.perf_counter() - started)
    rates = {name: len(paths) / statistics.median(each[1:]) for name, each in seconds.items()}
    for name, rate in rates.items():
        print(f"{size:4} px  {name:9} {rate:8.1f}  {rate / rates['network']:.2f}", flush=True)


@torch.inference_mode()
def embed_tensors(model: Embedder, size: int, count: int) -> None:
    device = find_device()
    pixels = torch.zeros(BATCH, size, size, 3, dtype=torch.uint8, device=device)
    model = model.to(device).to(memory_format=torch.channels_last).eval()
    for start in range(0, count, BATCH):
        embed_pixels(model, pixels[: count - start], hflip=False).cpu()


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


@torch.inference_mode()
def embed_files(model: Embedder, size: int, paths: list[Path]) -> None:
    device = find_device()
    model = model.to(device).eval()
    loader = DataLoader(Files(paths, size), batch_size=BATCH, num_workers=WORKERS)
    vectors = [model(pixels.to(device)).cpu().numpy() for pixels in loader]
    np.concatenate(vectors)


if __name__ == "__main__":
    main()

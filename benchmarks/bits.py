"""What `bits: portable` costs: a training step and an embedding, beside `bits: fast`.

    python -m benchmarks.bits                              # resnet18 at 64 px, vit_b_16 at 224 px
    python -m benchmarks.bits resnet50:224

Fresh processes of both kinds take turns, 3 times each. Printed are the least seconds of each, and
their ratio. Weights and images are random, because they do not change the time.
"""

import stages  # noqa: F401, I001 - first: it tells torch which bits to compute

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

NETWORKS = ("resnet18:64", "vit_b_16:224")
TURNS = 3
IMAGES = {64: 64, 224: 8}  # a batch, by the side of an image


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
        return
    for network in sys.argv[1:] or NETWORKS:
        seconds: dict[str, list[tuple[float, float]]] = {"portable": [], "fast": []}
        for _ in range(TURNS):
            for bits, times in seconds.items():
                times.append(run(network, bits))
        for number, what in enumerate(("training step", "embedding")):
            portable, fast = (min(each[number] for each in times) for times in seconds.values())
            print(f"{network:14}{what:15}portable {portable:7.3f} s  fast {fast:7.3f} s", end="")
            print(f"  ratio {portable / fast:.2f}", flush=True)


def run(network: str, bits: str) -> tuple[float, float]:
    """Return the seconds of a step and of an embedding in a fresh process."""
    with TemporaryDirectory() as folder:
        Path(folder, "params.yaml").write_text(f"bits: {bits}\n")
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.bits", "--measure", network],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.PIPE,
            check=True,
        )
    step, embedding = json.loads(done.stdout)
    return step, embedding


def measure(network: str) -> None:
    """Print the least seconds of three steps and of three embeddings of one batch."""
    import torch
    from torchvision import models

    name, side = network.split(":")
    torch.manual_seed(0)
    model = models.get_model(name, num_classes=128).to(memory_format=torch.channels_last)
    images = torch.rand(IMAGES.get(int(side), 8), 3, int(side), int(side))
    images = images.to(memory_format=torch.channels_last)

    def step() -> None:
        model(images).square().mean().backward()

    def embed() -> None:
        with torch.inference_mode():
            model(images)

    least = []
    for work in (step, embed):
        times = []
        for _ in range(4):  # the first is slower
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        least.append(min(times))
    print(json.dumps(least))


if __name__ == "__main__":
    main()

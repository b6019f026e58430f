"""What `bits: portable` costs: a training step and an embedding, beside `bits: fast`.

    python -m benchmarks.bits                  # the default's network, resnet18 and vit_b_16
    python -m benchmarks.bits resnet50:224     # of torchvision, at 224 px
    python -m benchmarks.bits timm:efficientnet_b0:224

Fresh processes of both kinds take turns, 3 times each. Printed are the least seconds of each, and
their ratio; first, the instructions that torch uses in each, which tell whether there is anything
to compare. Weights and images are random, because they do not change the time.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

NETWORKS = ("timm:tf_efficientnet_lite0:96", "resnet18:64", "vit_b_16:224")
TURNS = 3
IMAGES = {64: 64, 96: 64, 224: 8}  # a batch, by the side of an image


class Measured(TypedDict):
    """What a process measured. seconds: of a training "step" and an "embedding", the least."""

    seconds: dict[str, float]
    instructions: str
    threads: int


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
        return
    for network in sys.argv[1:] or NETWORKS:
        found: dict[str, list[Measured]] = {"portable": [], "fast": []}
        for _ in range(TURNS):
            for bits, measured in found.items():
                measured.append(run(network, bits))
        portable, fast = found.values()
        print(f"{network}: {describe_instructions(portable[0], fast[0])}")
        for what in ("step", "embedding"):
            least = [
                min(each["seconds"][what] for each in measured) for measured in (portable, fast)
            ]
            print(
                f"{network:31}{what:11}portable {least[0]:7.3f} s  fast {least[1]:7.3f} s", end=""
            )
            print(f"  ratio {least[0] / least[1]:.2f}", flush=True)


def describe_instructions(portable: Measured, fast: Measured) -> str:
    """Return which instructions and how many threads torch used with each; exit where equal."""
    kinds = [f"{each['instructions']} with {each['threads']} threads" for each in (portable, fast)]
    if portable["instructions"] == fast["instructions"] and has_more_than_avx2():
        sys.exit(f"both used {kinds[0]}, so nothing was compared; the environment of one is wrong")
    more = "" if has_more_than_avx2() else " (this processor has no instructions beyond AVX2)"
    return f"portable used {kinds[0]}, fast {kinds[1]}{more}"


def has_more_than_avx2() -> bool:
    """Return whether this processor has instructions that only `fast` uses."""
    return "avx512f" in Path("/proc/cpuinfo").read_text().split()


def run(network: str, bits: str) -> Measured:
    """Return what `measure` prints in a fresh process, whose `bits` a params.yaml sets."""
    with TemporaryDirectory() as folder:
        Path(folder, "params.yaml").write_text(f"bits: {bits}\n")
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "benchmarks.bits", "--measure", network],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.PIPE,
            check=True,
        )
    measured: Measured = json.loads(done.stdout)
    return measured


def measure(network: str) -> None:
    """Print the least seconds of three steps and of three embeddings of one batch, as JSON."""
    import stages  # noqa: F401, I001 - first: it tells torch which bits to compute; here alone, for

    # the process that starts this one must leave its environment as it is
    import timm
    import torch
    from torchvision import models

    *library, name, side = network.split(":")
    torch.manual_seed(0)
    build = timm.create_model if library == ["timm"] else models.get_model
    model = build(name, num_classes=128).to(memory_format=torch.channels_last)
    images = torch.rand(IMAGES.get(int(side), 8), 3, int(side), int(side))
    images = images.to(memory_format=torch.channels_last)

    def step() -> None:
        model(images).square().mean().backward()

    def embed() -> None:
        with torch.inference_mode():
            model(images)

    least = {}
    for what, work in (("step", step), ("embedding", embed)):
        times = []
        for _ in range(4):  # the first is slower
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        least[what] = min(times)
    instructions, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    print(json.dumps({"seconds": least, "instructions": instructions, "threads": threads}))


if __name__ == "__main__":
    main()

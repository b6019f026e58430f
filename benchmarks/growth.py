"""How the time and the memory of each stage grow with the number of images.

    python -m benchmarks.growth                        # 10, 30, 60, 120 and 250 thousand images
    python -m benchmarks.growth 10000 20000
    python -m benchmarks.growth --tables 1000000       # nothing is packed: its tables are made up

Synthetic images, classes of 10. Packing is measured by the library, and the embeddings (128-d) are
made up; the other stages run as DVC runs them, as processes. Queries are sampled: QUERIES of them
search the whole gallery. From each time that of 1,000 images is taken off, which is nearly all
start-up; the exponent is fitted to what is left, by least squares of the logarithms. The last
columns are an extrapolation by it, from the largest size.

Peak memory counts the parts of mapped files that were read, which the system takes back where
another needs memory. "own" is the memory that no file holds, so what a stage needs; of the process
alone, without its workers.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
from PIL import Image
from ruamel.yaml import YAML

from pipeline.config.load import read_yaml
from pipeline.data.buckets import choose_count
from pipeline.data.embeddings import write_embeddings
from pipeline.data.fingerprint import DatasetFingerprint
from pipeline.data.packed_images import write_images
from pipeline.data.tables import CATALOG, CLASSES, HEALTH, read_table, write_table
from pipeline.data.tie_order import tie_order
from pipeline.datasets.source_image import SourceImage
from pipeline.machine import describe_machine
from pipeline.packing.packing import Outputs, pack
from pipeline.stopping import WorkerPool
from pipeline.workers import Workers

ROOT = Path(__file__).parent.parent
SIZES = (10_000, 30_000, 60_000, 120_000, 250_000)
FIRST = 1_000  # images of the run that is taken off
QUERIES, CANDIDATES, PER_CLASS, DIMENSION, SIDE = 2_000, 5_000, 10, 128, 16
Used = tuple[float, float, float]  # CPU seconds, peak MiB, own MiB
LEAST = (0.5, 5.0, 5.0)  # of them, above the first run, more than noise
NAMES = ("images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet")
COMMANDS = {
    "pack": ["-m", "benchmarks.growth", "--pack"],
    "split": [
        "-m", "stages.split", "--catalog=data/catalog.parquet", "--classes=data/classes.parquet",
        "--health=data/health.parquet", "--out=data/splits.parquet",
    ],
    "mine": [
        "-m", "stages.mine", "--embeddings=embeddings/m", "--splits=data/splits.parquet",
        "--catalog=data/catalog.parquet", "--out=data/triplets.parquet",
    ],
    "index": [
        "-m", "stages.index", "--embeddings=embeddings/m", "--added=embeddings/added/m",
        "--splits=data/splits.parquet", "--catalog=data/catalog.parquet",
        "--out=index/m", "--added-out=index/added/m",
    ],
    "evaluate": [
        "-m", "stages.evaluate", "--model=m", "--embeddings=embeddings/m", "--index=index/m",
        "--splits=data/splits.parquet", "--catalog=data/catalog.parquet", "--images=data/images",
        "--metrics=metrics/details/m.json", "--headline=metrics/m.json", "--results=results/m",
    ],
}  # fmt: skip


def main() -> None:
    match sys.argv[1:]:
        case ["--pack", size]:
            pack_images(int(size))
        case ["--write-tables", size]:
            write_tables(Path(), int(size))
        case ["--write-vectors"]:
            write_vectors(Path())
        case ["--tables", *sizes]:
            del COMMANDS["pack"]
            measure_growth([int(text) for text in sizes] or SIZES)
        case sizes:
            measure_growth([int(text) for text in sizes] or SIZES)


def measure_growth(sizes: Sequence[int]) -> None:
    print(describe_machine("portable")["processor"])
    print("    images  stage      CPU s   peak MiB    own MiB")
    measure(FIRST)  # compiles what is compiled once
    found = {size: measure(size) for size in (FIRST, *sizes)}
    print("stage      exponents: CPU, peak, own   at 10^7: CPU h, GiB, GiB   at 10^9: the same")
    for stage in COMMANDS:
        powers = [fit(found, stage, kind) for kind in range(3)]
        ahead = [
            extrapolate(found, stage, kind, powers[kind], images) / (1024 if kind else 3600)
            for images in (10**7, 10**9)
            for kind in range(3)
        ]
        cells = "".join(f"{number:10.1f}" for number in ahead)
        print(f"{stage:10}" + "".join(f"{power:8.2f}" for power in powers) + cells)


def measure(size: int) -> dict[str, Used]:
    """Return stage -> what it used with so many images."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write_params(project)
        if "pack" not in COMMANDS:
            run(project, ["-m", "benchmarks.growth", "--write-tables", str(size)])
            run(project, ["-m", "benchmarks.growth", "--write-vectors"])
        for stage, command in COMMANDS.items():
            more = [str(size)] if stage == "pack" else []
            found[stage] = run(project, [*command, *more])
            seconds, peak, own = found[stage]
            print(f"{size:10,}  {stage:8} {seconds:7.1f} {peak:10.0f} {own:10.0f}", flush=True)
            if stage == "pack":
                run(project, ["-m", "benchmarks.growth", "--write-vectors"])
    return found


def write_params(project: Path) -> None:
    values = read_yaml(ROOT / "params.yaml")
    values["data"]["name"], values["split"]["protocol"] = "folder", "class_disjoint"
    values["batches"]["name"], values["evaluate"]["queries"] = "triplets", QUERIES
    values["mine"]["candidates"] = CANDIDATES
    with (project / "params.yaml").open("w") as out:
        YAML().dump(values, out)
    shutil.copy(ROOT / "overrides.csv", project)


def run(project: Path, command: list[str]) -> Used:
    """Return what a process used; the CPU seconds with those of the processes that it starts.

    Linux counts the memory of this process as theirs, until they run a program. So it has little.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *command],
        cwd=project,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    own: list[float] = []
    sampler = Thread(target=sample_own, args=(process.pid, own))
    sampler.start()
    errors = process.stderr.read().decode() if process.stderr else ""
    _, status, used = os.wait4(process.pid, 0)
    sampler.join()
    if status:
        sys.exit(f"{command}: {errors}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, max(own)


def sample_own(pid: int, own: list[float]) -> None:
    """Append, 20 times a second to its end, the MiB of a process that no file holds."""
    status = Path(f"/proc/{pid}/status")
    with suppress(OSError):
        while True:
            kib = [int(each) for each in re.findall(r"RssAnon:\s+(\d+)", status.read_text())]
            if not kib:  # it has ended
                return
            own.append(kib[0] / 1024)
            time.sleep(0.05)


def pack_images(size: int) -> None:
    images = (
        SourceImage(f"{n // PER_CLASS}/{n}.png", (f"class {n // PER_CLASS}",), partial(make, n))
        for n in range(size)
    )
    to = Outputs(*(Path("data") / name for name in NAMES))
    with WorkerPool(os.cpu_count() or 1) as pool:
        pack(images, to, max_rejected=0.0, workers=Workers(pool, Path("data")))


def write_tables(project: Path, size: int) -> None:
    """Write what `download` would, but without images."""
    data = project / "data"
    classes = [n // PER_CLASS for n in range(size)]
    columns = {
        "image_id": [f"{label}/{n}.png" for n, label in enumerate(classes)],
        "labels": [[label] for label in classes],
        "group": [None] * size,
        "source_split": [None] * size,
        "path": [f"{label}/{n}.png" for n, label in enumerate(classes)],
        "width": [SIDE] * size,
        "height": [SIDE] * size,
    }
    catalog = pa.table(columns, schema=pa.schema(CATALOG.columns)).sort_by("image_id")
    about = DatasetFingerprint().to_metadata()
    write_table(catalog, data / "catalog.parquet", CATALOG, metadata=about)
    names = sorted({f"class {label}" for label in classes})
    of_classes = {"label": range(len(names)), "name": names, "group": [None] * len(names)}
    schema = pa.schema(CLASSES.columns)
    write_table(pa.table(of_classes, schema=schema), data / "classes.parquet", CLASSES)
    health = {
        "image_id": catalog["image_id"],
        "pixels": catalog["image_id"],
        "perceptual_hash": [0] * size,
        "color_range": [255] * size,
        "sharpness": [99.0] * size,
        "exact_group": [None] * size,
        "near_group": [None] * size,
    }
    schema = pa.schema(HEALTH.columns)
    write_table(pa.table(health, schema=schema), data / "health.parquet", HEALTH)
    write_images({}, data / "images", buckets=choose_count(size))


def make(number: int) -> bytes:
    """Return a PNG of noise."""
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def write_vectors(project: Path) -> None:
    """Write embeddings of which those of a class are near each other, and none of added images."""
    ids = read_table(project / "data/catalog.parquet", CATALOG)["image_id"].to_pylist()
    ids = [ids[row] for row in tie_order(ids)]
    buckets = choose_count(len(ids))
    labels = np.array([int(image_id.split("/")[0]) for image_id in ids])
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((labels.max() + 1, DIMENSION), dtype=np.float32)
    noise = rng.standard_normal((len(ids), DIMENSION), dtype=np.float32)
    vectors = centres[labels] + 1.5 * noise
    write_embeddings(project / "embeddings/m", ids, vectors, buckets=buckets)
    write_embeddings(project / "embeddings/added/m", [], noise[:0])


def fit(found: dict[int, dict[str, Used]], stage: str, kind: int) -> float:
    """Return the exponent of what a stage used; kind: which value of Used."""
    first, *sizes = found
    above = {size: found[size][stage][kind] - found[first][stage][kind] for size in sizes}
    told = {size: more for size, more in above.items() if more > LEAST[kind]}
    if len(told) < 2:
        return float("nan")  # too little to tell from noise
    return float(np.polyfit(np.log([*told]), np.log([*told.values()]), 1)[0])


def extrapolate(
    found: dict[int, dict[str, Used]],
    stage: str,
    kind: int,
    power: float,
    images: int,
) -> float:
    first, *_, last = found
    start = found[first][stage][kind]
    growth = (found[last][stage][kind] - start) * (images / last) ** power
    return float(start + growth)


if __name__ == "__main__":
    main()

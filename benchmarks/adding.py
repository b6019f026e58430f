"""Ten images added to a catalog: what is computed again, how long it takes, and whether the bits
are those of a catalog that was built at once.

    python -m benchmarks.adding              # to 60,000 images
    python -m benchmarks.adding 10000

The stages `download` and `embed` run as DVC runs them, as processes in a project of its own, on a
folder of JPEGs of 160 x 160 pixels; the network is that of params.yaml at 64 pixels. What DVC does
itself, to hash and copy files, comes on top.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from pipeline.config.load import read_yaml
from pipeline.data.packed_images import PackedImages
from pipeline.machine import describe_machine

ROOT = Path(__file__).parent.parent
ADDED, CLASSES, SIDE = 10, 100, 160
DATA = {"images": "images", "catalog": "catalog.parquet", "classes": "classes.parquet"}
DATA |= {"rejected": "rejected.csv", "health": "health.parquet"}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    processor = describe_machine("portable")["processor"]
    print(f"{count:,} images; {processor}")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write_params(project)
        write_images(project / "source", 0, count)
        print("                           download s  embed s")
        run_stages(project, "all", kept="kept")
        before = read_files(project)
        run_stages(project, "nothing new", kept="kept")
        write_images(project / "source", count, count + ADDED)
        run_stages(project, f"{ADDED} more", kept="kept")
        after = read_files(project)
        changed = sorted(name for name in after if before.get(name) != after[name])
        for kind in ("data/images", "embeddings"):
            its = [name for name in after if name.startswith(kind) and "manifest" not in name]
            new = [Path(name).stem for name in changed if name in its]
            print(f"{kind}: {len(new)} of {len(its)} buckets changed: {' '.join(new)}")
        buckets = PackedImages(project / "data/images").manifest.buckets
        print(f"images in a bucket: {min(b.rows for b in buckets)}-{max(b.rows for b in buckets)}")
        run_stages(project, "all, at once", kept="other")
        print(f"the same bytes as at once: {read_files(project) == after}")


def write_params(project: Path) -> None:
    values = read_yaml(ROOT / "params.yaml")
    values["data"] |= {"name": "folder", "source": "source"}
    values["backbone"]["image_size"] = 64
    with (project / "params.yaml").open("w") as out:
        YAML().dump(values, out)
    shutil.copy(ROOT / "overrides.csv", project)
    (project / "added").mkdir()


def write_images(folder: Path, first: int, last: int) -> None:
    """Write images of smooth random colors, in class folders."""
    with ProcessPoolExecutor() as pool:
        list(pool.map(write_image, [folder] * (last - first), range(first, last), chunksize=64))


def write_image(folder: Path, number: int) -> None:
    colors = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    path = folder / f"class {number % CLASSES:03}/{number:07}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    image = Image.fromarray(colors).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    image.save(encoded, "JPEG", quality=85)
    path.write_bytes(encoded.getvalue())


def run_stages(project: Path, what: str, *, kept: str) -> None:
    """Run the stages as after DVC has removed their outputs, and print their seconds."""
    for name in ("data/images", "embeddings"):
        shutil.rmtree(project / name, ignore_errors=True)
    to = [f"--{option}=data/{name}" for option, name in DATA.items()]
    download = run(
        project, "download", "--source=source", "--overrides=overrides.csv", *to,
        f"--kept={kept}/download",
    )  # fmt: skip
    if not (project / "models").exists():
        run(project, "backbone", "--catalog=data/catalog.parquet", "--out=models/baseline")
        run(
            project, "added", "--source=added", "--images=data/added/images", "--kept=kept/added",
            "--catalog=data/added/catalog.parquet", "--rejected=data/added/rejected.csv",
        )  # fmt: skip
    embed = run(
        project, "embed", "--model=baseline", "--from=models/baseline", "--images=data/images",
        "--added=data/added/images", f"--kept={kept}/baseline",
        f"--kept-baseline={kept}/baseline", "--out=embeddings/baseline",
        "--added-out=embeddings/added/baseline",
    )  # fmt: skip
    print(f"{what:25} {download:11.1f} {embed:8.1f}", flush=True)


def run(project: Path, stage: str, *options: str) -> float:
    """Run a stage as a process and return its seconds, start-up included."""
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"stages.{stage}", *options, "--quiet"]
    subprocess.run(command, cwd=project, env=environment, check=True)  # noqa: S603 - our own
    return time.perf_counter() - started


def read_files(project: Path) -> dict[str, bytes]:
    """Return name -> bytes of the packed images and embeddings."""
    paths = [*(project / "data/images").iterdir(), *(project / "embeddings/baseline").iterdir()]
    return {path.relative_to(project).as_posix(): path.read_bytes() for path in paths}


if __name__ == "__main__":
    main()

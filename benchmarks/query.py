"""How long a photo takes that is asked of 122,000 packed images, on two cores.

    python -m benchmarks.query MIT_split.tar           # an archive of images, repeated
    python -m benchmarks.query MIT_split.tar --precision fp32

The network is SqueezeNet 1.0 at 224 px with a head of 128-d, the index Flat. Weights and the
gallery's vectors are drawn: neither changes how long it takes. A process of its own starts, is
asked 200 photos of the archive one by one, and tells the median and the 95th percentile of what
each takes from encoded bytes to named answers. The packed images need as much room in the
temporary folder as the archive, repeated, has.
"""

import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from pipeline.data.embeddings import write_embeddings
from pipeline.data.lineage import Lineage, digest_model
from pipeline.data.shards import ShardWriter
from pipeline.data.tables import CATALOG, CLASSES, LABELS, SPLITS, write_table
from pipeline.index.build import build_index, write_index
from pipeline.models.embedder import attach_head, build_baseline, save_embedder

IMAGES = 122_000
DIMENSION = 128
ASKED = 200
K = 10


def main() -> None:
    if sys.argv[1:2] == ["--ask"]:
        ask(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    archive, *options = sys.argv[1:] or sys.exit("give an archive of images, as for `folder`")
    precision = options[options.index("--precision") + 1] if options else "auto"
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        encoded = read_archive(Path(archive))
        write_project(project, encoded, precision=precision)
        command = [sys.executable, "-m", "benchmarks.query", "--ask", name, archive]
        subprocess.run(command, check=True)


def read_archive(archive: Path) -> list[bytes]:
    """Return the encoded images of a tar archive."""
    with tarfile.open(archive) as opened:
        members = [each for each in opened if each.name.lower().endswith((".jpg", ".png"))]
        return [opened.extractfile(each).read() for each in members]


def write_project(project: Path, encoded: list[bytes], *, precision: str) -> None:
    """Write data/, a model and its index: IMAGES images of 80 classes."""
    started = time.perf_counter()
    ids = [f"{number:06d}" for number in range(IMAGES)]
    writer = ShardWriter(project / "data/images")
    for number, image_id in enumerate(ids):
        writer.add(image_id, encoded[number % len(encoded)])
    writer.close()
    write_tables(project / "data", ids)
    model = attach_head(
        build_baseline("squeezenet1_0", image_size=224, pooling="avg", weights=None, seed=0),
        name="linear",
        dim=DIMENSION,
        hidden=0,
        normalize=True,
        seed=0,
    )
    save_embedder(model, project / "models/finetuned")
    vectors = np.random.default_rng(0).standard_normal((IMAGES, DIMENSION), dtype=np.float32)
    made = Lineage(digest_model(project / "models/finetuned"), False, precision)
    write_embeddings(project / "embeddings/finetuned.parquet", ids, vectors, made)
    index = build_index(vectors, factory="Flat", distance="cosine", seed=0)
    write_index(project / "index/finetuned", index, ids, made)
    size = sum(path.stat().st_size for path in project.rglob("*.arrow")) / 2**30
    print(f"{IMAGES:,} images packed ({size:.1f} GiB): {time.perf_counter() - started:.0f} s")


def write_tables(data: Path, ids: list[str]) -> None:
    """Write the catalog, classes and splits."""
    nothing, side = pa.nulls(len(ids), pa.string()), pa.array([256] * len(ids), pa.int32())
    labels = pa.array([[number % 80] for number in range(len(ids))], LABELS)
    columns = [ids, labels, nothing, nothing, ids, side, side]
    catalog = dict(zip((field.name for field in CATALOG.columns), columns, strict=True))
    write_table(pa.table(catalog), data / "catalog.parquet", CATALOG)
    names = {"label": pa.array(range(80), pa.int32()), "name": [f"class {n}" for n in range(80)]}
    classes = pa.table(names | {"group": pa.nulls(80, pa.string())})
    write_table(classes, data / "classes.parquet", CLASSES)
    always = pa.array([True] * len(ids))
    splits = {"image_id": ids, "split": ["test"] * len(ids)}
    table = pa.table(splits | {"is_query": always, "is_gallery": always})
    write_table(table, data / "splits.parquet", SPLITS)


def ask(project: Path, archive: Path) -> None:
    """Print how long it takes to start, and then to answer each of ASKED photos."""
    from app.searching.catalog import Catalog
    from app.searching.model_index import ModelIndex
    from app.searching.untrusted_images import decode_photo

    catalog, model_index = Catalog(project), ModelIndex(project, "finetuned")
    print(f"start-up: {time.time() - psutil.Process().create_time():.1f} s")
    photos = read_archive(archive)[:: len(read_archive(archive)) // ASKED][:ASKED]
    mask = catalog.mask_class("class 7", model_index.ids)
    times = []
    for number, photo in enumerate(photos):
        marks = [time.perf_counter()]
        image = decode_photo(photo, name=str(number))
        marks.append(time.perf_counter())
        vector = model_index.embed(image)
        marks.append(time.perf_counter())
        answers = model_index.search(vector, K)
        marks.append(time.perf_counter())
        named = [
            (catalog.classes_of(each.image_id), catalog.group_of(each.image_id)) for each in answers
        ]
        marks.append(time.perf_counter())
        of_class = model_index.search(vector, K, allowed=mask)
        marks.append(time.perf_counter())
        assert len(named) == len(of_class) == K
        times.append(np.diff(marks))
    parts = 1e3 * np.array(times)  # (ASKED, 5)
    for name, taken in {
        "read": parts[:, 0],
        "embed": parts[:, 1],
        "search": parts[:, 2],
        "name": parts[:, 3],
        "all of these": parts[:, :4].sum(axis=1),
        "search one class of 80": parts[:, 4],
    }.items():
        middle, late = np.percentile(taken, [50, 95])
        print(f"{name:22}  median {middle:6.1f} ms  p95 {late:6.1f} ms")


if __name__ == "__main__":
    main()

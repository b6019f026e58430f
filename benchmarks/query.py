"""The time of a query by a photo, in a gallery of 122,000 packed images.

    python -m benchmarks.query MIT_split.tar           # an archive of images, used repeatedly
    python -m benchmarks.query MIT_split.tar --precision fp32

The network is SqueezeNet 1.0 at 224 px with a head of 128-d, the index Flat. Weights and the
gallery's vectors are random, because they do not change the time. A fresh process searches with 200
photos of the archive, one by one, and prints the median and the 95th percentile of the time from
encoded bytes to neighbors with their class names. The temporary folder needs room for the packed
images: the archive repeated up to 122,000 images.
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

from pipeline.data.buckets import choose_count
from pipeline.data.embeddings import write_embeddings
from pipeline.data.image_rows import ImageFacts, ImageRow, RowWriter
from pipeline.data.lineage import Lineage, digest_model
from pipeline.data.packed_images import write_images
from pipeline.data.tables import CATALOG, CLASSES, LABELS, SPLITS, write_table
from pipeline.index.build import build_index, write_index
from pipeline.models.embedder import attach_head, build_baseline, save_embedder

IMAGES = 122_000
DIMENSION = 128
PHOTOS = 200
K = 10


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        measure_queries(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    archive, *options = sys.argv[1:] or sys.exit(
        "give an archive of images, as for the dataset `folder`"
    )
    precision = options[options.index("--precision") + 1] if options else "auto"
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        encoded = read_archive(Path(archive))
        write_project(project, encoded, precision=precision)
        command = [sys.executable, "-m", "benchmarks.query", "--measure", name, archive]
        subprocess.run(command, check=True)  # noqa: S603 - our own program


def read_archive(archive: Path) -> list[bytes]:
    """Return the encoded images of a tar archive."""
    with tarfile.open(archive) as opened:
        members = [each for each in opened if each.name.lower().endswith((".jpg", ".png"))]
        files = [opened.extractfile(each) for each in members]
        return [file.read() for file in files if file is not None]


def write_project(project: Path, encoded: list[bytes], *, precision: str) -> None:
    """Write data/, a model and its index: IMAGES images of 80 classes."""
    started = time.perf_counter()
    ids = [f"{number:06d}" for number in range(IMAGES)]
    facts = ImageFacts("", perceptual_hash=0, colors=b"", color_range=0, sharpness=0.0)
    rows = (ImageRow(each, encoded[n % len(encoded)], 0, 0, facts) for n, each in enumerate(ids))
    with RowWriter(project / "rows.arrow") as writer:
        stored = {row.image_id: writer.add(row) for row in rows}
    write_images(stored, project / "data/images", buckets=choose_count(IMAGES))
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
    lineage = Lineage(digest_model(project / "models/finetuned"), False, precision)
    write_embeddings(project / "embeddings/finetuned", ids, vectors, lineage)
    index = build_index(vectors, factory="Flat", distance="cosine", seed=0)
    write_index(project / "index/finetuned", index, ids, lineage)
    size = sum(path.stat().st_size for path in project.rglob("*.arrow")) / 2**30
    print(f"{IMAGES:,} images packed ({size:.1f} GiB): {time.perf_counter() - started:.0f} s")


def write_tables(data: Path, ids: list[str]) -> None:
    """Write the catalog, classes and splits."""
    null, side = pa.nulls(len(ids), pa.string()), pa.array([256] * len(ids), pa.int32())
    labels = pa.array([[number % 80] for number in range(len(ids))], LABELS)
    columns = [ids, labels, null, null, ids, side, side]
    catalog = dict(zip((field.name for field in CATALOG.columns), columns, strict=True))
    write_table(pa.table(catalog), data / "catalog.parquet", CATALOG)
    names = {"label": pa.array(range(80), pa.int32()), "name": [f"class {n}" for n in range(80)]}
    classes = pa.table(names | {"group": pa.nulls(80, pa.string())})
    write_table(classes, data / "classes.parquet", CLASSES)
    always = pa.array([True] * len(ids))
    splits = {"image_id": ids, "split": ["test"] * len(ids)}
    table = pa.table(splits | {"is_query": always, "is_gallery": always})
    write_table(table, data / "splits.parquet", SPLITS)


def measure_queries(project: Path, archive: Path) -> None:
    """Print the time to start, and the times of the steps of a query."""
    from app.searching.catalog import Catalog
    from app.searching.model_index import ModelIndex
    from app.searching.untrusted_images import decode_photo

    catalog, model_index = Catalog(project), ModelIndex(project, "finetuned")
    print(f"start-up: {time.time() - psutil.Process().create_time():.1f} s")
    photos = read_archive(archive)[:: len(read_archive(archive)) // PHOTOS][:PHOTOS]
    mask = catalog.mask_class("class 7", model_index.ids)
    times = []
    for number, photo in enumerate(photos):
        marks = [time.perf_counter()]
        image = decode_photo(photo, name=str(number))
        marks.append(time.perf_counter())
        vector = model_index.embed(image)
        marks.append(time.perf_counter())
        neighbors = model_index.search(vector, K)
        marks.append(time.perf_counter())
        named = [
            (catalog.classes_of(each.image_id), catalog.group_of(each.image_id))
            for each in neighbors
        ]
        marks.append(time.perf_counter())
        of_class = model_index.search(vector, K, allowed=mask)
        marks.append(time.perf_counter())
        if not len(named) == len(of_class) == K:
            raise RuntimeError(f"found {len(named)} and {len(of_class)} images, not {K}")
        times.append(np.diff(marks))
    steps = 1e3 * np.array(times)  # (PHOTOS, 5)
    for name, milliseconds in {
        "read": steps[:, 0],
        "embed": steps[:, 1],
        "search": steps[:, 2],
        "name": steps[:, 3],
        "all of these": steps[:, :4].sum(axis=1),
        "search one class of 80": steps[:, 4],
    }.items():
        median, p95 = np.percentile(milliseconds, [50, 95])
        print(f"{name:22}  median {median:6.1f} ms  p95 {p95:6.1f} ms")


if __name__ == "__main__":
    main()

"""Reading COCO's annotations at full size: seconds and peak memory, each in a fresh process.

    python -m benchmarks.coco_annotations [folder of coco2014_labels.parquet, coco_categories.json]

instances_train2017.json has 448 MiB, nine tenths of it the outlines of 860,001 objects. This
writes a file of that size with the label sets of all 122,218 labelled images of COCO 2014 and
random polygons. It measures the dataset module, packing a catalog of only labels, and for
comparison the standard library's json, which keeps the outlines in memory.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.timing import peak_mib, run_in_fresh_process, time_call
from pipeline.datasets import coco
from pipeline.packing.packing import Outputs, pack

BYTES = 448 * 2**20
POINTS = 24  # of a polygon on average, which gives about as many objects as COCO has
SIZE = (640, 480)
LABELS_ALONE = coco.CocoOptions(year=2017, images=False, official=False, max_images=None)
URL = "http://images.cocodataset.org/train2017"
SEPARATOR = ", "


def main() -> None:
    tables = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/datasets")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path = root / "annotations/instances_train2017.json"
        path.parent.mkdir()
        images, objects = run_in_fresh_process(write_annotations, path, tables)
        print(f"{path.stat().st_size:,} bytes, {images:,} images, {objects:,} objects")
        print("what                                seconds  peak MiB")
        for what in (read_dataset, pack_catalog, read_json):
            seconds, peak, line = run_in_fresh_process(measure, what, root)
            print(f"{line:35s} {seconds:7.1f}  {peak:8.0f}", flush=True)


def measure(work: Callable[[Path], str], root: Path) -> tuple[float, float, str]:
    """Return the seconds of `work`, the process's peak memory in MiB, and the line of `work`."""
    seconds, line = time_call(lambda: work(root))
    return seconds, peak_mib(), line


def read_dataset(root: Path) -> str:
    images = list(coco.read_images(root, LABELS_ALONE, 0))
    return f"dataset module, {len(images):,} images"


def pack_catalog(root: Path) -> str:
    names = ("images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet")
    to = Outputs(*(root / "data" / name for name in names))
    pack(coco.read_images(root, LABELS_ALONE, 0), to, max_rejected=0.0)
    return "dataset module and packing"


def read_json(root: Path) -> str:
    with open(root / "annotations/instances_train2017.json", "rb") as opened:
        content = json.load(opened)
    return f"json.load, {len(content['images']):,} images"


def write_annotations(path: Path, tables: Path) -> tuple[int, int]:
    """Write BYTES of annotations in COCO's format; return the numbers of images and objects."""
    rows = pq.read_table(tables / "coco2014_labels.parquet").to_pydict()
    categories = json.loads((tables / "coco_categories.json").read_text())
    ids = rows["image_id"]
    pairs = [
        (n, kind) for n, kinds in zip(ids, rows["category_ids"], strict=True) for kind in kinds
    ]
    objects = 0
    with open(path, "w", encoding="ascii") as out:
        out.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        names = zip(ids, rows["file_name"], strict=True)
        out.write(SEPARATOR.join(format_image(number, name) for number, name in names))
        out.write('], "categories": ' + json.dumps(categories) + ', "annotations": [')
        written = out.tell() + len("]}")
        # One object for each category of each image, then again, until the file is full.
        for (number, kind), shape in zip(cycle(pairs), make_shapes(), strict=False):
            text = format_annotation(objects, number, kind, shape)
            written += len(text) + (len(SEPARATOR) if objects else 0)
            out.write((SEPARATOR if objects else "") + text)
            objects += 1
            if written >= BYTES and objects >= len(pairs):
                break
        out.write("]}")
    return len(ids), objects


def format_image(number: int, name: str) -> str:
    width, height = SIZE
    fields = {"license": 3, "file_name": name, "coco_url": f"{URL}/{name}"}
    fields |= {"height": height, "width": width, "date_captured": "2013-11-14 11:18:45"}
    return json.dumps(fields | {"flickr_url": f"http://flickr.com/{number}_z.jpg", "id": number})


def format_annotation(object_id: int, number: int, kind: int, shape: tuple[str, float]) -> str:
    outline, area = shape
    return (
        f'{{"segmentation": [{outline}], "area": {area}, "iscrowd": 0, "image_id": {number}, '
        f'"bbox": [12.5, 34.25, 56.0, 78.5], "category_id": {kind}, "id": {object_id}}}'
    )


def make_shapes(count: int = 1009) -> Iterator[tuple[str, float]]:
    """Yield `count` random outlines as JSON, with areas in pixels, again and again."""
    rng = np.random.default_rng(0)
    shapes = []
    for points in rng.integers(POINTS // 4, 2 * POINTS - POINTS // 4 + 1, count):
        outline = rng.uniform(0, min(SIZE), 2 * points).round(2).tolist()
        shapes.append((json.dumps(outline), round(float(rng.uniform(50, 50_000)), 4)))
    yield from cycle(shapes)


if __name__ == "__main__":
    main()

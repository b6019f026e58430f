"""Mining by labels compared with the algorithm of a published student pipeline.

    python -m benchmarks.mining                  # label sets of COCO 2014 from ../shared/datasets
    python -m benchmarks.mining --hard           # also hard mining of all images, at 256-d
    python -m benchmarks.mining LABELS.parquet   # another table with a column `category_ids`

That algorithm, written here from its description, does this for each image: it shuffles all
images, scans them for the largest overlap of label sets, and scans them again for the first
disjoint one (Python sets, one thread). Both run on samples; for more images, its time is
extrapolated from the largest sample, by the square of the number of images, and marked. At the end
the whole stage runs as DVC runs it, including process start, reading and writing of tables.
"""

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks.timing import peak_mib, run_in_fresh_process, time_call
from pipeline.data.embeddings import write_embeddings
from pipeline.data.label_sets import from_lists
from pipeline.data.tables import CATALOG, LABELS, SPLITS, write_table
from pipeline.mining.by_labels import mine_by_labels
from pipeline.mining.label_overlap import find_distinct

ROOT = Path(__file__).parent.parent
COCO = ROOT.parent / "shared/datasets/coco2014_labels.parquet"
SAMPLES = (500, 1000, 2000, 4000)
SIZES = (30_000, 60_000)
DIMENSION = 256


def main() -> None:
    arguments = [each for each in sys.argv[1:] if each != "--hard"]
    path = Path(arguments[0]) if arguments else COCO
    if not path.is_file():
        sys.exit(f"{path}: no such file; give a Parquet table with a list column `category_ids`")
    lists = pq.read_table(path)["category_ids"].to_pylist()
    order = np.random.default_rng(0).permutation(len(lists))
    lists = [lists[i] for i in order]
    mine_by_labels(from_lists(lists[:100]), per_anchor=1, seed=0)  # compiles the loops
    print(f"{path.name}: {len(lists):,} images")
    print("   images  distinct sets  mining s  published s     ratio")
    last = (1, 0.0)
    for size in (*(size for size in (*SAMPLES, *SIZES) if size < len(lists)), len(lists)):
        sample = from_lists(lists[:size])
        ours = min(time_call(mine_by_labels, sample, per_anchor=1, seed=0)[0] for _ in range(3))
        if size in SAMPLES:
            sets = [set(each) for each in lists[:size]]
            last = (size, time_call(mine_as_published, sets)[0])
        theirs = last[1] * (size / last[0]) ** 2
        mark = "" if size in SAMPLES else f"  (published: extrapolated from {last[0]:,} images)"
        distinct = len(find_distinct(sample).starts) - 1
        print(
            f"{size:9,}  {distinct:13,}  {ours:8.3f}  {theirs:11.1f}  {theirs / ours:8,.0f}{mark}",
            flush=True,
        )
    kinds = [False, True] if "--hard" in sys.argv else [False]
    for hard in kinds:
        print(run_in_fresh_process(run_stage, lists, hard), flush=True)


def mine_as_published(sets: list[set[int]]) -> list[tuple[int, int, int]]:
    """Return (anchor, positive, negative) as the published pipeline mines them."""
    generator = random.Random(0)  # noqa: S311 - a seed, so that figures repeat
    triplets = []
    others = list(range(len(sets)))
    for anchor, labels in enumerate(sets):
        generator.shuffle(others)
        positive, most = -1, 0
        for other in others:
            overlap = len(labels & sets[other])
            if other != anchor and overlap > most:
                positive, most = other, overlap
        negative = next((other for other in others if not labels & sets[other]), -1)
        triplets.append((anchor, positive, negative))
    return triplets


def run_stage(lists: list[list[int]], hard: bool) -> str:
    """Return a line with the time and memory of `python -m stages.mine` for all of `lists`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, lists, hard=hard)
        options = {
            "embeddings": "embeddings",
            "splits": "splits",
            "catalog": "catalog",
            "out": "out",
        }
        command = [sys.executable, "-m", "stages.mine"]
        for option, table in options.items():
            command += [f"--{option}", f"{table}.parquet"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        started = time.perf_counter()
        ran = subprocess.run(  # noqa: S603 - our own stage
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        seconds = time.perf_counter() - started
    peak = peak_mib(resource.RUSAGE_CHILDREN)
    kind = f"the whole stage, hard, {DIMENSION}-d" if hard else "the whole stage"
    return f"{kind}: {seconds:.1f} s, {peak:,.0f} MiB\n  " + "\n  ".join(ran.stderr.splitlines())


def write_inputs(folder: Path, lists: list[list[int]], *, hard: bool) -> None:
    """Write the tables that the stage reads, with all images in the training split."""
    count = len(lists)
    ids = [f"{i:06d}" for i in range(count)]
    null, one = pa.nulls(count, pa.string()), pa.array(np.ones(count, np.int32))
    columns = [ids, pa.array(lists, LABELS), null, null, ids, one, one]
    catalog = dict(zip((field.name for field in CATALOG.columns), columns, strict=True))
    write_table(pa.table(catalog), folder / "catalog.parquet", CATALOG)
    never = pa.array(np.zeros(count, bool))
    splits = {"image_id": ids, "split": ["train"] * count, "is_query": never, "is_gallery": never}
    write_table(pa.table(splits), folder / "splits.parquet", SPLITS)
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["batches"]["name"] = "triplets"  # for other batches the stage mines nothing
    params["mine"] |= {"method": "labels", "hard": hard, "per_anchor": 1}
    yaml.dump(params, folder / "params.yaml")
    if hard:
        rng = np.random.default_rng(0)
        vectors = rng.standard_normal((count, DIMENSION), dtype=np.float32)
        write_embeddings(folder / "embeddings", ids, vectors)


if __name__ == "__main__":
    main()

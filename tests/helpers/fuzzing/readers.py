"""Every reader of files: a valid file for each, and how it is read."""

import csv
import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

import stages.track
from app.experiments.dvc_adapter.lock import read_lock
from app.experiments.recipes import check_settings, override, read_recipe
from app.experiments.search_spaces import read_space
from app.experiments.verification import read_machine
from app.overrides_file import append_overrides
from app.project import list_stage_outputs
from app.searching.untrusted_images import read_photo
from pipeline.config.load import read_params
from pipeline.data import chosen, tables
from pipeline.data.buckets import MANIFEST
from pipeline.data.class_names import read_class_names
from pipeline.data.decoding import UndecodableError, decode, read_header
from pipeline.data.embeddings import read_embeddings, read_lineage, write_embeddings
from pipeline.data.fingerprint import KEY as FINGERPRINT
from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.lineage import Lineage
from pipeline.data.metrics_files import read_metrics_files, read_texts
from pipeline.data.packed_images import PackedImages
from pipeline.data.tables import Table, read_metadata, read_table, write_table
from pipeline.data.training_record import TrainingRecord, read_record, write_record
from pipeline.datasets import DATASETS
from pipeline.datasets.coco import COCO
from pipeline.datasets.source_image import SourceImage
from pipeline.datasets.table import table_images
from pipeline.errors import UserError
from pipeline.index.build import build_index, read_index, write_index
from pipeline.models.embedder import attach_head, build_baseline, load_embedder, save_embedder
from pipeline.models.weights import load_weights, read_weights, select_weights
from pipeline.packing.archives import unpack
from pipeline.packing.overrides import apply_overrides
from pipeline.report.curve_graphs import read_history, training_graphs
from pipeline.report.dataset_summary import read_rejected
from pipeline.training.checkpoints import Checkpoint
from tests.helpers.encoded_images import FORMATS, encode
from tests.helpers.options import dataset_options
from tests.helpers.packer import Packer
from tests.helpers.paths import ROOT
from tests.helpers.published import MAKE, put

ROWS = 24
IDS = [f"class {n % 4}/{n:02}.png" for n in range(ROWS)]
BACKBONE = "timm:test_resnet"


@dataclass(frozen=True)
class Reader:
    """A way to read a file.

    make: writes valid files into a new folder, and returns those to be damaged. read: of such a
    folder; what it returns is compared by its `repr`. unnoticed: whether changed bytes may be read
    as other values, as docs/reliability.md says. raises: the documented error. step: only every so
    many-th case is tried, as it takes seconds.
    """

    make: Callable[[Path], list[Path]]
    read: Callable[[Path], object]
    unnoticed: bool = True
    raises: type[Exception] = UserError
    names_file: bool = True
    step: int = 1


def digest(values: Any) -> int:
    return hash(np.ascontiguousarray(values).tobytes())


# Tables


def values_of(field: pa.Field) -> pa.Array:
    """Return ROWS values of a column, all of them different where they can be."""
    kind = field.type
    if kind == tables.EMBEDDING:
        flat = pa.array(np.random.default_rng(1).normal(size=ROWS * 8).astype(np.float32))
        return pa.FixedSizeListArray.from_arrays(flat, 8)
    if pa.types.is_list(kind):
        inner = ["a", "b"] if kind.value_type == pa.string() else [1, 2]
        return pa.array([inner] * ROWS, kind)
    if pa.types.is_boolean(kind):
        return pa.array([n % 3 == 0 for n in range(ROWS)])
    if pa.types.is_string(kind):
        return pa.array(
            [None if field.nullable and n % 5 == 0 else each for n, each in enumerate(IDS)]
        )
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([bytes([n]) * kind.byte_width for n in range(ROWS)], kind)
    return pa.array(range(ROWS)).cast(kind)


def make_table(kind: Table, folder: Path) -> list[Path]:
    columns = {field.name: values_of(field) for field in kind.columns}
    if kind.open:
        columns |= {"recall_at_1": pa.array(np.linspace(0, 1, ROWS))}
    metadata = {FINGERPRINT: "0123456789abcdef", chosen.KEY: '{"split.protocol": "random"}'}
    metadata |= {chosen.UNTRAINED: ""}
    path = folder / "table.parquet"
    write_table(pa.table(columns), path, kind, metadata=metadata)
    return [path]


def read_all_metadata(folder: Path) -> object:
    path = folder / "table.parquet"
    found = chosen.read_chosen(path), chosen.read_untrained(path), read_dataset_fingerprint(path)
    return read_metadata(path), found


def make_embeddings(folder: Path) -> list[Path]:
    vectors = np.random.default_rng(1).normal(size=(ROWS, 8)).astype(np.float32)
    path = folder / "embeddings"
    write_embeddings(path, IDS, vectors, Lineage("0123456789abcdef", False, "fp32"))
    return sorted(path.iterdir())


def read_all_embeddings(folder: Path) -> object:
    ids, vectors = read_embeddings(folder / "embeddings")
    read_lineage(folder / "embeddings")  # unnoticed: metadata have no checksum
    return ids, digest(vectors)


TABLES = {
    f"table of {kind.name}": Reader(
        partial(make_table, kind),
        lambda folder, kind=kind: read_table(folder / "table.parquet", kind).to_pydict(),
        unnoticed=False,
    )
    for kind in vars(tables).values()
    if isinstance(kind, Table)
} | {
    "metadata of a table": Reader(partial(make_table, tables.CATALOG), read_all_metadata),
    "embeddings": Reader(make_embeddings, read_all_embeddings, unnoticed=False),
    "class names": Reader(
        partial(make_table, tables.CLASSES), lambda f: read_class_names(f / "table.parquet")
    ),
}

# Images, models, indexes and checkpoints


def make_images(folder: Path) -> list[Path]:
    writer = Packer(folder)
    for image_id in IDS:
        writer.add(image_id, encode("PNG"))
    writer.close()
    return [folder / "00000.arrow", folder / MANIFEST]


def read_images(folder: Path) -> object:
    images = PackedImages(folder)
    pixels = [(images.locate(each), digest(images.decode(each))) for each in images.ids]
    columns = vars(images.read_columns(images.ids))
    return pixels, {name: str(column) for name, column in columns.items()}


def make_model(folder: Path, *, damaged: str) -> list[Path]:
    baseline = build_baseline(BACKBONE, image_size=32, pooling="avg", weights=None, seed=1)
    save_embedder(
        attach_head(baseline, name="linear", dim=8, hidden=0, normalize=True, seed=1), folder
    )
    return [folder / damaged]


def read_model(folder: Path) -> object:
    model = load_embedder(folder)
    return model.spec, [digest(tensor) for tensor in model.state_dict().values()]


def model(damaged: str) -> Reader:
    return Reader(partial(make_model, damaged=damaged), read_model, unnoticed=False)


def make_weights(folder: Path, *, name: str, **options: Any) -> list[Path]:
    network = build_baseline(BACKBONE, image_size=32, pooling="avg", weights=None, seed=1).backbone
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    path = folder / name
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3}, path, **options)
    return [path]


def read_all_weights(folder: Path, *, name: str) -> object:
    network = build_baseline(BACKBONE, image_size=32, pooling="avg", weights=None, seed=2).backbone
    path = folder / name
    load_weights(network, select_weights(read_weights(path), network), where=str(path))
    return [digest(tensor) for tensor in network.state_dict().values()]


def weights(name: str, **options: Any) -> Reader:
    return Reader(partial(make_weights, name=name, **options), partial(read_all_weights, name=name))


def make_index(folder: Path, *, factory: str, distance: str, damaged: str) -> list[Path]:
    vectors = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
    index = build_index(vectors, factory=factory, distance=distance, seed=1)
    ids = [f"{n:03}.png" for n in range(300)]
    write_index(folder, index, ids, Lineage("0123456789abcdef", False, "fp32"))
    return [folder / damaged]


def search_index(folder: Path) -> object:
    index, ids = read_index(folder)
    queries = np.random.default_rng(2).normal(size=(4, index.d)).astype(np.float32)
    scores, rows = index.search(queries, 5)
    return digest(scores), rows.tolist(), ids


def index(factory: str, distance: str = "cosine", damaged: str = "index.faiss") -> Reader:
    make = partial(make_index, factory=factory, distance=distance, damaged=damaged)
    return Reader(make, search_index, unnoticed=False)


def make_checkpoint(folder: Path) -> list[Path]:
    state = {"weights": torch.arange(1000.0), "epoch": 3, "history": [{"loss": 0.5}] * 3}
    Checkpoint(folder, "run").save(state)
    return [folder / "run.pt"]


def load_checkpoint(folder: Path) -> object:
    state = Checkpoint(folder, "run").load()
    if state is None:
        raise UserError(f"{folder / 'run.pt'}: set aside, as is documented")
    return digest(state.pop("weights")), state


FILES_OF_MODELS = {
    "packed images": Reader(make_images, read_images, unnoticed=False),
    "model.json": model("model.json"),
    "model.safetensors": model("model.safetensors"),
    "weights .safetensors": weights("w.safetensors"),
    "weights .pt": weights("w.pt"),
    "weights .pt of old": weights("w.pt", _use_new_zipfile_serialization=False),
    "index Flat": index("Flat"),
    "index Flat, euclidean": index("Flat", "euclidean"),
    "index IVF": index("IVF4,Flat"),
    "index HNSW": index("HNSW32"),
    "index PQ": index("PQ4x4"),
    "index IVF-PQ": index("IVF4,PQ4x4", "euclidean"),
    "ids of an index": index("Flat", damaged="ids.parquet"),
    "checkpoint": Reader(make_checkpoint, load_checkpoint, unnoticed=False),
}

# JSON, CSV and YAML of the pipeline


def make_text(name: str, text: str, folder: Path) -> list[Path]:
    put(folder / name, text)
    return [folder / name]


def make_record(folder: Path) -> list[Path]:
    write_record(folder, TrainingRecord("finetuned", "it is better", 3, {"split.protocol": "a"}))
    return [folder / "training.json"]


METRICS = {"dataset": "products", "fingerprint": "0123", "map": 0.5, "use": "finetuned", "k": 3}
HISTORY = "epoch,loss,val_map\n0,,0.25\n1,2.5,0.5\n2,1.5,0.75\n"


def make_overrides(folder: Path) -> list[Path]:
    rows = [("image_id", "action", "label"), (IDS[0], "drop", ""), (IDS[1], "relabel", "c")]
    return make_text("overrides.csv", "".join(",".join(row) + "\n" for row in rows), folder)


def read_overrides(folder: Path) -> object:
    images = [SourceImage(path=each, labels=("c",), read=None) for each in IDS]
    return apply_overrides(images, folder / "overrides.csv")


def add_overrides(folder: Path) -> object:
    append_overrides(folder / "overrides.csv", [(IDS[2], "drop", "")])
    return (folder / "overrides.csv").read_bytes()


def make_rejected(folder: Path) -> list[Path]:
    text = 'path,reason\na.png,empty\n"b, c.png",damaged (cut)\n'
    return make_text("rejected.csv", text, folder)


def copy_file(source: str, name: str, folder: Path) -> list[Path]:
    return make_text(name, (ROOT / source).read_text("utf-8"), folder)


def read_recipe_fully(folder: Path) -> object:
    params = (ROOT / "params.yaml").read_text("utf-8")
    recipe = override(read_recipe(folder, "a"), [], params)
    for point in recipe.combinations():
        check_settings(params, dict(recipe.settings) | point, where=recipe.where)
    return recipe, recipe.title, recipe.tune and read_space(recipe, params)


SWEPT = (
    "# Title\n# more\ntrain: {epochs: 2}\nsweep:\n  loss.name: [triplet, supcon]\n  seed: [1, 2]\n"
)
TUNED = (
    "# Title\ntrain: {epochs: 2}\ntune:\n  trials: 3\n  space:\n"
    "    head.dim: [64, 128]\n    optimizer.adamw.lr: {low: 0.0001, high: 0.01, log: true}\n"
)
LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: python -m stages.train
    deps:
    - {path: data/images, md5: 0123.dir, hash: md5, size: 1, nfiles: 2}
    params:
      params.yaml: {seed: 7, loss.name: triplet}
    outs:
    - {path: models/finetuned, md5: 4567.dir, hash: md5, size: 1, nfiles: 2}
"""


def read_whole_lock(folder: Path) -> object:
    lock = read_lock((folder / "dvc.lock").read_bytes().decode(errors="replace"), where="dvc.lock")
    return lock.outputs(), lock.models, lock.trace("models/finetuned")


TEXTS = {
    "dvc.lock": Reader(partial(make_text, "dvc.lock", LOCK), read_whole_lock),
    "training.json": Reader(make_record, read_record),
    "metrics": Reader(
        partial(make_text, "a.json", json.dumps(METRICS)),
        lambda folder: (read_metrics_files([folder / "a.json"]), read_texts(folder / "a.json")),
    ),
    "history": Reader(
        partial(make_text, "history.csv", HISTORY),
        lambda folder: training_graphs(read_history(folder / "history.csv")),
    ),
    "history, to be tracked": Reader(
        partial(make_text, "history.csv", HISTORY),
        lambda folder: stages.track.read_history(folder / "history.csv"),
    ),
    "rejected.csv": Reader(make_rejected, lambda folder: read_rejected(folder / "rejected.csv")),
    "overrides.csv": Reader(make_overrides, read_overrides),
    "overrides.csv, added to": Reader(make_overrides, add_overrides),
    "params.yaml": Reader(
        partial(copy_file, "params.yaml", "params.yaml"),
        lambda folder: read_params(folder / "params.yaml"),
    ),
    "recipe with a sweep": Reader(partial(make_text, "a.yaml", SWEPT), read_recipe_fully),
    "recipe to tune": Reader(partial(make_text, "a.yaml", TUNED), read_recipe_fully),
    "dvc.yaml": Reader(partial(copy_file, "dvc.yaml", "dvc.yaml"), list_stage_outputs),
    "machine.json": Reader(
        partial(copy_file, "machine.json", "machine.json"),
        lambda folder: read_machine(
            (folder / "machine.json").read_bytes().decode(errors="replace")
        ),
    ),
}

# Datasets, archives and images, as others made them


def read_dataset(name: str, folder: Path, **options: Any) -> object:
    images = DATASETS[name].read_images(folder, dataset_options(name, **options), 0)
    return [_read_image(image) for image in images]


def _read_image(image: SourceImage) -> object:
    content = None
    if image.read is not None:
        try:
            content = digest(decode(image.read()))
        except (OSError, UndecodableError, UserError):  # `download` lists it in rejected.csv
            content = None
    return image.path, image.labels, image.group, image.source_split, image.box, content


def make_dataset(name: str, folder: Path) -> list[Path]:
    MAKE[name](folder)
    images = (".jpg", ".JPG", ".png")
    return sorted(f for f in folder.rglob("*") if f.is_file() and f.suffix not in images)


def make_coco(folder: Path) -> list[Path]:
    files = []
    for split in ("train", "val"):
        images = [{"id": n, "file_name": f"{n}.jpg", "width": 8, "height": 9.0} for n in (1, 2, 3)]
        boxes = [{"image_id": n, "category_id": n, "area": 2.5, "bbox": [1, 2]} for n in (1, 2)]
        kinds = [{"id": n, "name": f"c{n}", "supercategory": "s"} for n in (1, 2)]
        content = {"info": {}, "images": images, "annotations": boxes, "categories": kinds}
        files.append(folder / f"annotations/instances_{split}2017.json")
        put(files[-1], json.dumps(content))
    return files


def read_coco(folder: Path) -> object:
    options = dataset_options("coco", images=False, year=2017, official=False, max_images=None)
    return [_read_image(image) for image in COCO.read_images(folder, options, 0)]


def make_image_table(folder: Path, *, name: str) -> list[Path]:
    header = [
        "path",
        "label",
        "split",
        "is_query",
        "is_gallery",
        "category",
        "x_1",
        "x_2",
        "y_1",
        "y_2",
    ]
    rows = [
        [f"{n}.png", f"class {n % 2}", ("train", "test")[n // 4], n > 3, n > 3, "g", 1, 9, 1, 9]
        for n in range(8)
    ]
    rows = [
        [False if row[2] == "train" and i in (3, 4) else v for i, v in enumerate(row)]
        for row in rows
    ]
    for row in rows:
        put(folder / row[0], encode("PNG"))
    if name.endswith(".csv"):
        text = io.StringIO(newline="")
        csv.writer(text).writerows([header, *rows])
        return make_text(name, text.getvalue(), folder)
    columns = {
        key: list(values) for key, values in zip(header, zip(*rows, strict=True), strict=True)
    }
    pq.write_table(pa.table(columns), folder / name)
    return [folder / name]


def image_table(name: str) -> Reader:
    return Reader(
        partial(make_image_table, name=name),
        lambda folder: [_read_image(image) for image in table_images(name, root=folder)],
    )


def make_archive(folder: Path, *, name: str) -> list[Path]:
    content = folder / "content"
    for number in range(4):
        put(content / f"class {number % 2}/{number}.txt", f"{number}\n" * 300)
    path = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for file in sorted(content.rglob("*.txt")):
                zipped.write(file, file.relative_to(content))
    else:
        os.symlink("0.txt", content / "class 0/link.txt")
        with tarfile.open(path, f"w:{name.partition('.tar.')[2]}") as tar:
            tar.add(content, ".")
    shutil.rmtree(content)
    return [path]


def read_archive(folder: Path, *, name: str) -> object:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    unpack(folder / name, out, free_bytes=10**7)
    return sorted((str(f.relative_to(out)), f.read_bytes()) for f in out.rglob("*") if f.is_file())


def archive(name: str) -> Reader:
    return Reader(partial(make_archive, name=name), partial(read_archive, name=name))


def make_image(folder: Path, *, kind: str) -> list[Path]:
    put(folder / "a.img", encode(kind))
    return [folder / "a.img"]


def read_image(folder: Path) -> object:
    content = (folder / "a.img").read_bytes()
    return read_header(content), digest(decode(content))


OF_OTHERS = {
    **{
        f"dataset {name}": Reader(
            partial(make_dataset, name),
            partial(read_dataset, name),
            step=50 if name == "cars196" else 1,  # scipy has a process of its own
        )
        for name in MAKE
    },
    "COCO": Reader(make_coco, read_coco),
    "table of images .csv": image_table("t.csv"),
    "table of images .parquet": image_table("t.parquet"),
    **{
        f"archive {name}": archive(name)
        for name in ("a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.zip")
    },
    **{
        f"image {kind}": Reader(
            partial(make_image, kind=kind), read_image, raises=UndecodableError, names_file=False
        )
        for kind in FORMATS
    },
    "photo": Reader(
        partial(make_image, kind="JPEG"), lambda folder: digest(read_photo(folder / "a.img"))
    ),
}

READERS: dict[str, Reader] = TABLES | FILES_OF_MODELS | TEXTS | OF_OTHERS

"""Small datasets in the layouts of the published ones."""

import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat

from pipeline.datasets import cifar10, inshop
from pipeline.datasets.counts import SplitCounts


def pixels(seed: int, side: int = 12) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def encoded(seed: int, side: int = 12, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(seed, side)).save(out, kind)
    return out.getvalue()


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def make_sop(folder: Path) -> None:
    """Two classes for training, three for testing, of three images, in two super-classes."""
    root = folder / "Stanford_Online_Products"
    number = 0
    for name, classes in (("train", (1, 2)), ("test", (11319, 11320, 11321))):
        rows = ["image_id class_id super_class_id path"]
        for label in classes:
            group = 1 + label % 2
            for shot in range(3):
                number += 1
                path = f"{('bicycle', 'coffee_maker')[label % 2]}_final/{label}_{shot}.JPG"
                put(root / path, encoded(number, kind="JPEG"))
                rows.append(f"{number} {label} {group} {path}")
        put(root / f"Ebay_{name}.txt", "\n".join(rows) + "\n")


def make_cub(folder: Path) -> None:
    """Classes 99 to 102 of three images; each is in train and in test of train_test_split.txt."""
    root = folder / "CUB_200_2011"
    put(folder / "attributes.txt", "1 has_bill_shape::curved\n")
    rows = [
        (1 + 3 * i + shot, label, shot)
        for i, label in enumerate(range(99, 103))
        for shot in (0, 1, 2)
    ]
    for number, label, shot in rows:
        put(root / f"images/{label:03d}.Bird_{label}/Bird_{label}_{shot}.jpg", encoded(number))
    names = [f"{n} {label:03d}.Bird_{label}/Bird_{label}_{shot}.jpg" for n, label, shot in rows]
    put(root / "images.txt", "\n".join(names) + "\n")
    put(root / "image_class_labels.txt", "".join(f"{n} {label}\n" for n, label, _ in rows))
    put(root / "train_test_split.txt", "".join(f"{n} {int(shot > 0)}\n" for n, _, shot in rows))


def make_cars196(folder: Path) -> None:
    """Classes 97 to 100 of three images; the field `test` has each class in train and test."""
    rows = [
        (1 + 3 * i + shot, label, shot)
        for i, label in enumerate(range(97, 101))
        for shot in (0, 1, 2)
    ]
    kinds = [("relative_im_path", "O"), ("bbox_x1", "O"), ("class", "O"), ("test", "O")]
    annotations = np.array(
        [(f"car_ims/{n:06d}.jpg", 1, label, int(shot > 0)) for n, label, shot in rows], dtype=kinds
    )
    names = np.array([f"Car {label}" for label in range(1, 197)], dtype=object)
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "cars_annos.mat", {"annotations": annotations, "class_names": names})
    for number, *_ in rows:
        put(folder / f"car_ims/{number:06d}.jpg", encoded(number))


def make_inshop(folder: Path) -> None:
    """Two items for training; two for test, with one query and two gallery images each."""
    root = folder / "In-shop Clothes Retrieval Benchmark"
    partition, boxes = [], []
    for item in range(1, 5):
        for shot, role in enumerate(("query", "gallery", "gallery")):
            name = f"img/WOMEN/Dresses/id_{item:08d}/0{shot}_1_front.jpg"
            put(root / "Img" / name, encoded(item * 3 + shot, kind="JPEG"))
            partition.append(f"{name}   id_{item:08d}   {'train' if item < 3 else role}")
            boxes.append(f"{name}    3 1  002 001 010 012")
    for path, header, rows in (
        ("Eval/list_eval_partition.txt", "image_name item_id evaluation_status", partition),
        ("Anno/list_bbox_inshop.txt", inshop.BOX_COLUMNS, boxes),
    ):
        put(root / path, "\n".join([str(len(rows)), header, *rows]) + "\n")


def make_cifar10(folder: Path) -> None:
    """Six batches of four images of two classes."""
    root = folder / "cifar-10-batches-bin"
    put(root / "batches.meta.txt", "airplane\nautomobile\n\n")
    for number, batch in enumerate(cifar10.BATCH_FILES):
        records = [
            bytes([i % 2]) + pixels(number * 4 + i, 32).transpose(2, 0, 1).tobytes()
            for i in range(4)
        ]
        put(root / batch, b"".join(records))


def idx(content: Any) -> bytes:
    shape = np.array(content.shape, dtype=">u4").tobytes()
    return gzip.compress(bytes([0, 0, 8, content.ndim]) + shape + content.tobytes())


def make_fashion_mnist(folder: Path) -> None:
    """Eight images for training and four for testing, of two classes."""
    for split, number in (("train", 8), ("t10k", 4)):
        images = np.random.default_rng(number).integers(0, 256, (number, 28, 28), dtype=np.uint8)
        labels = np.arange(number, dtype=np.uint8) % 2 * 9
        put(folder / f"{split}-images-idx3-ubyte.gz", idx(images))
        put(folder / f"{split}-labels-idx1-ubyte.gz", idx(labels))


def make_huggingface(folder: Path, config: str = "default", **columns: Any) -> None:
    """Four images of two named classes in each of two splits, in row groups of three."""
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    for split in ("train", "test"):
        image = [{"bytes": encoded(seed), "path": None} for seed in range(4)]
        table = pa.table({"image": image, "label": [0, 0, 1, 1]} | columns)
        path = folder / f"{config}/{split}/0000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata(about), path, row_group_size=3)


MAKE = {
    "sop": make_sop,
    "cub": make_cub,
    "cars196": make_cars196,
    "inshop": make_inshop,
    "cifar10": make_cifar10,
    "fashion_mnist": make_fashion_mnist,
    "huggingface": make_huggingface,
}
# The numbers of the small datasets, instead of the official ones.
COUNTS = {
    "sop": {"train": SplitCounts(6, 2, 2), "query+gallery": SplitCounts(9, 3, 2)},
    "cub": {"train": SplitCounts(6, 2), "query+gallery": SplitCounts(6, 2)},
    "cars196": {"train": SplitCounts(6, 2), "query+gallery": SplitCounts(6, 2)},
    "inshop": {
        "train": SplitCounts(6, 2, 1),
        "query": SplitCounts(2, 2, 1),
        "gallery": SplitCounts(4, 2, 1),
    },
    "cifar10": {"train+gallery": SplitCounts(20, 2), "query": SplitCounts(4, 2)},
    "fashion_mnist": {"train+gallery": SplitCounts(8, 2), "query": SplitCounts(4, 2)},
}


def serve_from(folder: Path, name: str, made: Path) -> None:
    """Put into `folder` what the official server of dataset `name` has: archives and files."""
    archives = {
        "sop": ("Stanford_Online_Products", "zip", ".zip"),
        "cub": ("CUB_200_2011", "gztar", ".tgz"),
        "cars196": ("car_ims", "gztar", ".tgz"),
        "cifar10": ("cifar-10-binary", "gztar", ".tar.gz"),
    }
    folder.mkdir(exist_ok=True)
    for file in [*made.glob("*.mat"), *made.glob("*.gz")]:
        shutil.copy(file, folder)
    if name in archives:
        stem, kind, suffix = archives[name]
        Path(shutil.make_archive(str(folder / stem), kind, made)).rename(folder / f"{stem}{suffix}")

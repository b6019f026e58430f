"""`lookalike export`: what is searched, as other search engines read it, or the model itself."""

import io
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.searching.added_images import ADDED
from app.searching.best_model import resolve_model
from app.searching.catalog import Catalog, require_files
from pipeline.data.arrays import Vectors
from pipeline.data.embeddings import iterate_buckets, read_lineage
from pipeline.data.files import written_whole
from pipeline.data.lineage import check_lineage
from pipeline.data.tables import SPLITS, read_table
from pipeline.data.tie_order import digest_ids
from pipeline.errors import UserError, name_choices
from pipeline.index.build import IDS_FILE, read_index_lineage, read_index_postprocessing
from pipeline.index.postprocessing import Postprocessing
from pipeline.progress import show_progress

ROWS_OF_A_FILE = 100_000  # engines read a file as a whole, or several at once
THUMBNAIL_QUALITY = 85
TABLE = "images"
ONNX, ONNX_FILE = "onnx", "model.onnx"
HUB = "hub"

logger = logging.getLogger(__name__)


def export_images(root: Path, out: Path, *, model: str, kind: str, side: int) -> None:
    """Write a row for each image that the project at `root` searches to the new folder `out`.

    id: uint64, and image_id: text, either names the image. classes: a list of names; group; split:
    train, val or test; an added image has none of them. vector: float32 [D], of `model`,
    mapped as in its index, but not averaged with others. thumbnail: a JPEG of at most `side`
    pixels; without the column for 0.

    kind: of WRITERS, or of what writes the model instead: ONNX as model.onnx, HUB as a repository
    of the Hugging Face Hub has it.

    Raises:
        UserError: `out` exists, the kind is unknown or its library is missing, or a file is.
    """
    if kind not in (*WRITERS, ONNX, HUB):
        raise UserError(f"--format: {name_choices(kind, [*WRITERS, ONNX, HUB])}")
    if out.exists():
        raise UserError(
            f"{out}: is there already; allowed: a new folder; name another, or remove it"
        )
    name = resolve_model(root, model).name
    if kind in (ONNX, HUB):
        (_export_onnx if kind == ONNX else _export_for_hub)(root, out, name)
        return
    folders = [root / "embeddings" / name, root / "embeddings" / ADDED / name]
    require_files(root, folders)
    rows = _Rows(root, side=side)
    postprocessing = _read_postprocessing(root, folders[0], root / "index" / name)
    vectors = (
        (ids, postprocessing.apply(bucket))
        for folder in folders
        for ids, bucket in iterate_buckets(folder)
    )
    first = next(vectors, None)
    if first is None:
        raise UserError(
            f"{folders[0]}: holds no vectors, because no images were packed, only their labels; "
            "allowed here: vectors; set data.<name>.images: true"
        )
    batches = map(rows.batch, show_progress(chain([first], vectors), total=None, what="export"))
    with written_whole(out) as (unfinished,):
        unfinished.mkdir()
        count = WRITERS[kind](batches, unfinished)
    lineage = read_lineage(folders[0])
    of = name if lineage is None else f"{name}, model {lineage.model[:12]}"
    logger.info("wrote %d images with vectors of %s to %s", count, of, out)


def _export_onnx(root: Path, out: Path, name: str) -> None:
    """Write the model, with what its index does, to the new folder `out`."""
    from app.searching.onnx_file import write_onnx  # torch, which the others do without
    from pipeline.models.embedder import load_embedder

    embeddings = root / "embeddings" / name
    require_files(root, [embeddings])
    postprocessing = _read_postprocessing(root, embeddings, root / "index" / name)
    lineage = read_lineage(embeddings)
    model = load_embedder(root / "models" / name)
    with written_whole(out) as (unfinished,):
        unfinished.mkdir()
        hflip = lineage is not None and lineage.hflip
        write_onnx(unfinished / ONNX_FILE, model, postprocessing, hflip=hflip)
    logger.info("wrote the model %s to %s", name, out / ONNX_FILE)


def _export_for_hub(root: Path, out: Path, name: str) -> None:
    """Write the model and its card to the new folder `out`."""
    from app.publishing.model_folder import write_model_folder  # torch, as above

    with written_whole(out) as (unfinished,):
        unfinished.mkdir()
        write_model_folder(root, name, unfinished, title=out.name)
    logger.info("wrote the model %s and its card to %s", name, out)


def _read_postprocessing(root: Path, embeddings: Path, index: Path) -> Postprocessing:
    """Return what the index has done to the vectors of `embeddings`."""
    require_files(root, [index / IDS_FILE])
    if lineage := read_lineage(embeddings):
        check_lineage(
            read_index_lineage(index),
            model=lineage.model,
            source=embeddings,
            path=index,
            stage="index",
            same_as=lineage,
        )
    return read_index_postprocessing(index)


class _Rows:
    """Makes rows of the images of the project at `root`."""

    def __init__(self, root: Path, *, side: int) -> None:
        self._catalog, self._side = Catalog(root), side
        splits = read_table(root / "data/splits.parquet", SPLITS)
        ids, split = (splits[name].to_pylist() for name in ("image_id", "split"))
        self._split_of: dict[str, str] = dict(zip(ids, split, strict=True))

    def batch(self, bucket: tuple[list[str], Vectors]) -> pa.RecordBatch:
        """Return the rows of N image_ids and their vectors, float32 [N, D]."""
        ids, vectors = bucket
        flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
        columns = {
            "id": pa.array(digest_ids(ids)),
            "image_id": pa.array(ids, pa.string()),
            "classes": pa.array(map(self._catalog.classes_of, ids), pa.list_(pa.string())),
            "group": pa.array(map(self._catalog.group_of, ids), pa.string()),
            "split": pa.array(map(self._split_of.get, ids), pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
        if self._side:
            with ThreadPoolExecutor(os.cpu_count()) as threads:
                columns["thumbnail"] = pa.array(threads.map(self._thumbnail, ids), pa.binary())
        return pa.record_batch(columns)

    def _thumbnail(self, image_id: str) -> bytes:
        image = self._catalog.images.decode_small(image_id, side=self._side)
        image.thumbnail((self._side, self._side))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=THUMBNAIL_QUALITY)
        return out.getvalue()


def _write_parquet(batches: Iterator[pa.RecordBatch], folder: Path) -> int:
    """Write files of about ROWS_OF_A_FILE rows, and return the number of all."""
    count, writer = 0, None
    for batch in batches:
        if writer is None:
            writer = pq.ParquetWriter(folder / f"{TABLE}-{count:09}.parquet", batch.schema)
            first = count
        writer.write_batch(batch)
        count += len(batch)
        if count - first >= ROWS_OF_A_FILE:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()
    return count


def _write_lance(batches: Iterator[pa.RecordBatch], folder: Path) -> int:
    """Write a table of LanceDB, and return the number of its rows."""
    try:
        import lancedb
    except ImportError:
        raise UserError(
            "--format: lance needs the package lancedb; allowed: parquet, or install it: "
            "pip install lancedb"
        ) from None
    first = next(batches)
    # In one go: each addition would be a version of the table.
    rows = pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
    return int(lancedb.connect(folder).create_table(TABLE, rows).count_rows())


WRITERS: dict[str, Callable[[Iterator[pa.RecordBatch], Path], int]] = {
    "parquet": _write_parquet,
    "lance": _write_lance,
}

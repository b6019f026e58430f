"""The tables between stages: each column is defined here once, and checked at both ends."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.data.files import final_path, written_whole
from pipeline.errors import UserError, one_line

# For a file of the pipeline that is damaged.
REMEDY = "get it back: dvc checkout, or make it again: dvc repro"


def _column(name: str, kind: pa.DataType, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


@dataclass(frozen=True)
class Table:
    """A table's name, its columns, and the column whose values are unique in it, if any.

    An `open` table may carry further float64 columns (one a metric) after the listed ones.
    """

    name: str
    columns: tuple[pa.Field, ...]
    key: str | None = None
    open: bool = False


LABELS = pa.list_(pa.field("element", pa.int32(), nullable=False))
NAMES = pa.list_(pa.field("element", pa.string(), nullable=False))
# In the file it is a fixed_size_list of D floats; here a list of any length means any D.
EMBEDDING = pa.list_(pa.float32())

CATALOG = Table(
    "catalog",
    (
        _column("image_id", pa.string()),
        _column("labels", LABELS),
        _column("group", pa.string(), nullable=True),
        _column("source_split", pa.string(), nullable=True),
        _column("path", pa.string()),
        _column("width", pa.int32()),
        _column("height", pa.int32()),
    ),
    key="image_id",
)
CLASSES = Table(
    "classes",
    (
        _column("label", pa.int32()),
        _column("name", pa.string()),
        _column("group", pa.string(), nullable=True),
    ),
    key="label",
)
# split: train, val, test, or unused: in the index alone.
SPLITS = Table(
    "splits",
    (
        _column("image_id", pa.string()),
        _column("split", pa.string()),
        _column("is_query", pa.bool_()),
        _column("is_gallery", pa.bool_()),
    ),
    key="image_id",
)
# What is told of each packed image by its pixels. pixels: a digest of them, upright, as RGB.
# exact_group: the first image_id of those with the same pixels; near_group: of those that look the
# same, other pixels too; null where there is no other. The rest: pipeline/health/image_facts.py.
HEALTH = Table(
    "health",
    (
        _column("image_id", pa.string()),
        _column("pixels", pa.string()),
        _column("perceptual_hash", pa.uint64()),
        _column("color_range", pa.int32()),
        _column("sharpness", pa.float64()),
        _column("exact_group", pa.string(), nullable=True),
        _column("near_group", pa.string(), nullable=True),
    ),
    key="image_id",
)
TRIPLETS = Table(
    "triplets",
    (
        _column("anchor", pa.string()),
        _column("positive", pa.string()),
        _column("negative", pa.string()),
        _column("shared", pa.int16()),
    ),
)
EMBEDDINGS = Table(
    "embeddings",
    (_column("image_id", pa.string()), _column("embedding", EMBEDDING)),
    key="image_id",
)
# Of a folder of buckets. digest: changes with what the bucket was made of.
BUCKETS = Table(
    "buckets",
    (_column("bucket", pa.int32()), _column("rows", pa.int64()), _column("digest", pa.string())),
    key="bucket",
)
# source: 16 bytes that change with what a packed image was made from, and how.
SOURCES = Table(
    "sources",
    (_column("image_id", pa.string()), _column("source", pa.binary(16))),
    key="image_id",
)
IDS = Table("ids", (_column("image_id", pa.string()),), key="image_id")
NEIGHBORS = Table(
    "neighbors",
    (
        _column("query", pa.string()),
        _column("rank", pa.int32()),
        _column("image_id", pa.string()),
        _column("score", pa.float32()),
        _column("relevant", pa.bool_()),
    ),
)
# Curves and histograms of one model: `label` is null where a curve is of all queries.
CURVES = Table(
    "curves",
    (
        _column("curve", pa.string()),
        _column("label", pa.int32(), nullable=True),
        _column("x", pa.float64()),
        _column("y", pa.float64()),
    ),
)
# The share of queries whose k nearest images vote for their label, by distance and k. val_accuracy
# is null where the validation gallery has fewer than k images; `chosen`: the k that is best on
# validation, one for each distance.
KNN = Table(
    "kNN accuracies",
    (
        _column("distance", pa.string()),
        _column("k", pa.int32()),
        _column("val_accuracy", pa.float64(), nullable=True),
        _column("test_accuracy", pa.float64()),
        _column("chosen", pa.bool_()),
    ),
)
QUERIES = Table(
    "queries",
    (
        _column("image_id", pa.string()),
        _column("positives", pa.int32()),
        _column("first_hit_rank", pa.int32(), nullable=True),
    ),
    key="image_id",
    open=True,
)
# One row for each class that a query and another gallery image have; `queries` is the number of
# these queries, and each metric their mean. map, recall_at_<k>: images of this class are relevant.
# knn_accuracy: the vote of the neighbors is any label of the query.
CLASS_RESULTS = Table(
    "class results",
    (_column("label", pa.int32()), _column("queries", pa.int64())),
    key="label",
    open=True,
)
# `top_hit` is the first of the exact ranking, `score` by the index's distance. `bits`: how many
# bits of the perceptual hashes of the two images differ; null where the cosine is too low for a
# near-duplicate, so that the hashes were not compared.
FAILURES = Table(
    "failures",
    (
        _column("image_id", pa.string()),
        _column("positives", pa.int32()),
        _column("first_hit_rank", pa.int32()),
        _column("average_precision", pa.float64()),
        _column("top_hit", pa.string()),
        _column("score", pa.float32()),
        _column("cosine", pa.float32()),
        _column("bits", pa.int32(), nullable=True),
        _column("near_duplicate", pa.bool_()),
    ),
    key="image_id",
)
SUCCESSES = Table(
    "successes",
    (
        _column("image_id", pa.string()),
        _column("positives", pa.int32()),
        _column("average_precision", pa.float64()),
        _column("top_hit", pa.string()),
        _column("score", pa.float32()),
        _column("cosine", pa.float32()),
    ),
    key="image_id",
)
# Queries whose top hit is not relevant but nearly the same image; `failure`: also in FAILURES.
NEAR_DUPLICATES = Table(
    "near-duplicates",
    (
        _column("image_id", pa.string()),
        _column("first_hit_rank", pa.int32()),
        _column("top_hit", pa.string()),
        _column("score", pa.float32()),
        _column("cosine", pa.float32()),
        _column("bits", pa.int32()),
        _column("failure", pa.bool_()),
    ),
    key="image_id",
)
# How many queries of a class have a top hit of the `other` class, not relevant; with an example.
CONFUSIONS = Table(
    "confusions",
    (
        _column("label", pa.int32()),
        _column("other", pa.int32()),
        _column("queries", pa.float64()),
        _column("share", pa.float64()),
        _column("image_id", pa.string()),
        _column("top_hit", pa.string()),
    ),
)

# Images of groups of duplicates. kind: exact or near. classes: the names of the image's classes.
# across_classes, across_splits: of the group, whether it has several.
DUPLICATES = Table(
    "duplicates",
    (
        _column("kind", pa.string()),
        _column("group", pa.int32()),
        _column("image_id", pa.string()),
        _column("classes", NAMES),
        _column("split", pa.string()),
        _column("across_classes", pa.bool_()),
        _column("across_splits", pa.bool_()),
    ),
)

# The neighbors of photos from outside the catalog. classes: the names of the neighbor's classes.
# trained_on: whether the model was trained on the neighbor. match: whether the photo has a match in
# the catalog, the same for all of its neighbors; null where no threshold was chosen.
PHOTO_NEIGHBORS = Table(
    "neighbors",
    (
        _column("photo", pa.string()),
        _column("rank", pa.int32()),
        _column("image_id", pa.string()),
        _column("classes", NAMES),
        _column("score", pa.float32()),
        _column("trained_on", pa.bool_()),
        _column("match", pa.bool_(), nullable=True),
    ),
)


def write_table(
    table: pa.Table, path: Path, kind: Table, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write `table` to `path` as zstd Parquet, whole or not at all.

    metadata: text by key, kept in the file beside the columns; see `read_metadata`.

    Raises:
        UserError: a column is missing, unexpected or of another type, or a value is null or
            repeated.
    """
    table = _check(table, kind, where=str(final_path(path)))
    if metadata:
        table = table.replace_schema_metadata(dict(metadata))
    with written_whole(path) as (unfinished,):
        # Checksums, because zstd notices few of the bytes that a disk or a copy changes.
        pq.write_table(table, unfinished, compression="zstd", write_page_checksum=True)


def read_table(path: Path, kind: Table) -> pa.Table:
    """Return the table at `path`, checked against `kind`.

    Raises:
        UserError: the file is missing, damaged or not Parquet, or its columns are not those of
            `kind`.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage that writes it: dvc repro")
    with told_as_damaged(path):
        # Not by pq.read_table, which imports all of pyarrow.dataset first.
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            table = opened.read()
        return _check(table, kind, where=str(path))


@contextmanager
def told_as_damaged(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Raise whatever the Parquet file at `path` gives as a UserError that ends with `remedy`.

    Damaged bytes make Arrow raise all of these, and sometimes a MemoryError for a length. An error
    of the system, such as a missing right, stays what it is.
    """
    try:
        yield
    except PermissionError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        memory = "too large for the free memory, " if isinstance(error, MemoryError) else ""
        what = f"{memory}damaged, or not a Parquet file ({one_line(error)})"
        raise UserError(f"{path}: {what}; {remedy}") from None


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata in the table at `path`.

    Raises:
        UserError: as `read_table`.
    """
    with told_as_damaged(path):
        held = pq.read_schema(path).metadata or {}
        return {key.decode(): value.decode() for key, value in held.items()}


def _check(table: pa.Table, kind: Table, *, where: str) -> pa.Table:
    expected = [field.name for field in kind.columns]
    missing = [name for name in expected if name not in table.column_names]
    extra = [name for name in table.column_names if name not in expected]
    if kind.open:
        extra = [name for name in extra if table.schema.field(name).type != pa.float64()]
    if missing or extra:
        raise UserError(
            f"{where}: columns of {kind.name}: missing {missing}, unexpected {extra}; "
            f"allowed: {', '.join(expected)}"
        )
    for field in kind.columns:
        _check_column(table.column(field.name), field, where=f"{where}: column {field.name}")
    if kind.key and pc.count_distinct(table[kind.key]).as_py() != len(table):
        raise UserError(f"{where}: column {kind.key}: a value is repeated; allowed: each once")
    further = [name for name in table.column_names if name not in expected]
    return table.select(expected + further)


def _check_column(values: pa.ChunkedArray, field: pa.Field, *, where: str) -> None:
    if field.type == EMBEDDING:
        fits = pa.types.is_fixed_size_list(values.type) and pa.types.is_float32(
            values.type.value_type
        )
    elif pa.types.is_list(field.type):
        fits = pa.types.is_list(values.type) and values.type.value_type == field.type.value_type
    else:
        fits = values.type == field.type
    if not fits:
        wanted = "fixed_size_list<float>[D]" if field.type == EMBEDDING else field.type
        raise UserError(f"{where}: found type {values.type}; allowed: {wanted}")
    if not field.nullable and values.null_count:
        raise UserError(f"{where}: {values.null_count} values are null; allowed: none")
    if pa.types.is_list(field.type) and (inner := pc.list_flatten(values).null_count):
        raise UserError(f"{where}: {inner} values in lists are null; allowed: none")

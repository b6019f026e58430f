"""The tables of what was packed: the catalog and its classes; and the dataset's fingerprint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.fingerprint import DatasetFingerprint
from pipeline.data.image_rows import ImageColumns, StoredImage
from pipeline.data.tables import CATALOG, CLASSES, Table
from pipeline.datasets.source_image import SourceImage


@dataclass(frozen=True, slots=True)
class Packed:
    """An image that is packed. stored: None where only its labels are. source: as in SOURCES."""

    image: SourceImage
    stored: StoredImage | None = None
    source: bytes = b""


def fingerprint_dataset(packed: Sequence[Packed], known: ImageColumns) -> dict[str, str]:
    """Return the metadata of the catalog. known: of the stored images, in their order."""
    fingerprint, digests = DatasetFingerprint(), iter(known.digest)
    for item in packed:
        fingerprint.add(
            item.image.id,
            labels=item.image.labels,
            group=item.image.group,
            source_split=item.image.source_split,
            image_digest=None if item.stored is None else next(digests).tobytes(),
        )
    return fingerprint.to_metadata()


def build_catalog(
    packed: Sequence[Packed], known: ImageColumns, label_of: Mapping[str, int]
) -> pa.Table:
    """Return CATALOG. known: of the stored images, in their order; label_of: by class name."""
    sizes = _sizes(packed, known)
    rows = {
        "image_id": [item.image.id for item in packed],
        "labels": [sorted({label_of[name] for name in item.image.labels}) for item in packed],
        "group": [item.image.group for item in packed],
        "source_split": [item.image.source_split for item in packed],
        "path": [item.image.path for item in packed],
        "width": sizes[:, 0],
        "height": sizes[:, 1],
    }
    return _table(rows, CATALOG)


def _sizes(packed: Sequence[Packed], known: ImageColumns) -> NDArray[np.int32]:
    """Return int32 [N, 2], the width and height of each image."""
    stored = np.array([item.stored is not None for item in packed], dtype=bool)
    sizes = np.empty((len(packed), 2), np.int32)
    sizes[stored] = np.stack([known.width, known.height], axis=1)
    others = [item.image.size for item in packed if item.stored is None]
    sizes[~stored] = np.array(others, np.int32).reshape(-1, 2)
    return sizes


def build_classes(packed: Sequence[Packed], names: Sequence[str]) -> pa.Table:
    """Return CLASSES, of which `names` are the names, by label."""
    groups: dict[str, set[str | None]] = {name: set() for name in names}
    for item in packed:
        # The group of an image with several classes is the group of one of them, unknown which.
        if len(set(item.image.labels)) == 1:
            groups[item.image.labels[0]].add(item.image.group)
    # A class whose images are of several groups has no group.
    group_of = [next(iter(groups[name])) if len(groups[name]) == 1 else None for name in names]
    rows = {"label": list(range(len(names))), "name": list(names), "group": group_of}
    return _table(rows, CLASSES)


def _table(rows: Mapping[str, Any], kind: Table) -> pa.Table:
    columns = {field.name: pa.array(rows[field.name], field.type) for field in kind.columns}
    return pa.table(columns, schema=pa.schema(kind.columns))

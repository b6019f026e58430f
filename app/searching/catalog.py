"""What the DAG knows of its images: their bytes, classes and groups, and who asks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.data.arrays import Mask
from pipeline.data.class_names import display_names
from pipeline.data.joins import find_rows
from pipeline.data.label_sets import label_sets
from pipeline.data.shards import PackedImages
from pipeline.data.tables import CATALOG, CLASSES, SPLITS, read_table
from pipeline.errors import UserError, name_choices


class Catalog:
    """The images of the project at `root`, read once; only read, so many threads may ask.

    Attributes:
        images: the packed bytes by image_id.
        queries: image_ids of the test images that ask, in the order of the splits.
        classes: names of all classes, sorted; two that share a name have their label added.
        groups: names of all groups that images have, sorted; empty where the dataset has none.

    Raises:
        UserError: a file is missing, or is not what it should be.
    """

    def __init__(self, root: Path) -> None:
        self._root, data = root, root / "data"
        self._catalog = data / "catalog.parquet"
        paths = (self._catalog, data / "classes.parquet", data / "splits.parquet")
        require([*paths, data / "images"])
        catalog, classes, splits = (
            read_table(path, kind)
            for path, kind in zip(paths, (CATALOG, CLASSES, SPLITS), strict=True)
        )
        self.images = PackedImages(data / "images")
        asks = pc.and_(splits["is_query"], pc.equal(splits["split"], "test"))
        self.queries: list[str] = splits.filter(asks)["image_id"].to_pylist()
        plain = zip(classes["label"].to_pylist(), classes["name"].to_pylist(), strict=True)
        self._names = display_names(dict(plain))
        self._label_of = {name: label for label, name in self._names.items()}
        self.classes = sorted(self._label_of)
        self._labels = label_sets(catalog["labels"])
        self._groups = catalog["group"].combine_chunks()
        self.groups: list[str] = sorted(pc.unique(self._groups.drop_null()).to_pylist())
        self._ids = catalog["image_id"].combine_chunks()
        self._sizes = (catalog["width"].to_numpy(), catalog["height"].to_numpy())
        self._row = {image_id: row for row, image_id in enumerate(self._ids.to_pylist())}

    def names(self, image_id: str) -> list[str]:
        """Return the names of an image's classes, sorted."""
        labels = self.labels(image_id)
        return sorted(self._names.get(label, f"class {label}") for label in labels)

    def group(self, image_id: str) -> str | None:
        """Return the name of an image's group, None where it has none."""
        name: str | None = self._groups[self._find(image_id)].as_py()
        return name

    def labels(self, image_id: str) -> frozenset[int]:
        """Return an image's labels."""
        row = self._find(image_id)
        first, last = self._labels.starts[row : row + 2]
        return frozenset(self._labels.values[first:last].tolist())

    def size(self, image_id: str) -> tuple[int, int]:
        """Return an image's width and height in pixels, without reading it."""
        width, height = (int(sides[self._find(image_id)]) for sides in self._sizes)
        return width, height

    def is_relevant(self, query: str, image_id: str) -> bool:
        """Whether two known images share a label."""
        return not self.labels(query).isdisjoint(self.labels(image_id))

    def of_class(self, name: str, ids: Sequence[str]) -> Mask:
        """Return bool [G]: which of `ids`, an index's say, have the class of this name.

        Raises:
            UserError: no class has this name, or an id is not of this library.
        """
        if name not in self._label_of:
            raise UserError(f"class: {name_choices(name, self.classes)}")
        owners = np.repeat(np.arange(len(self._labels)), np.diff(self._labels.starts))
        among = np.zeros(len(self._labels), dtype=bool)
        among[owners[self._labels.values == self._label_of[name]]] = True
        return among[self._find_rows(ids)]

    def of_group(self, name: str, ids: Sequence[str]) -> Mask:
        """Return bool [G]: which of `ids` have the group of this name; raises as `of_class`."""
        if name not in self.groups:
            raise UserError(f"group: {name_choices(name, self.groups)}")
        among = pc.equal(self._groups, name).fill_null(False).to_numpy(zero_copy_only=False)
        mask: Mask = among[self._find_rows(ids)]
        return mask

    def _find(self, image_id: str) -> int:
        row = self._row.get(image_id)
        if row is None:
            raise UserError(f"{self._catalog}: no image has image_id '{image_id}'; run: dvc repro")
        return row

    def _find_rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        return find_rows(ids, self._ids, asked=self._root / "index", known=self._catalog)


def require(paths: Sequence[Path]) -> None:
    """Raise a UserError that tells how to get it, unless each of `paths` is there."""
    for path in paths:
        if not path.exists():
            raise UserError(
                f"{path}: no such file or folder; fetch it: dvc pull, or make it: dvc repro"
            )

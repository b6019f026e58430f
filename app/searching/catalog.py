"""The images of a project: their bytes, classes and groups, and which are test queries."""

from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.project import require_project
from app.searching.added_images import CATALOG_FILE, IMAGES_FOLDER, AllImages, has_added
from pipeline.data.arrays import Ints, Mask
from pipeline.data.class_names import display_names, names_of
from pipeline.data.joins import RowLookup, find_rows
from pipeline.data.label_sets import label_sets
from pipeline.data.tables import CATALOG, CLASSES, SPLITS, read_table
from pipeline.errors import UserError, advise_making, closest, name_first


class UnknownNameError(UserError):
    """A class or group that the dataset does not have."""


class Catalog:
    """The images of the project at `root`, read once. Safe for many threads: nothing changes.

    with_images: whether they are to be read, and not their names and classes alone.

    Attributes:
        images: the encoded images by image_id; without them none.
        queries: image_ids of the test queries, in the order of data/splits.parquet.
        train_ids: image_ids of the training images.
        classes: names of all classes, sorted; where two are the same, their labels are added.
        groups: names of all groups that have images, sorted; empty where the dataset has none.

    Raises:
        UserError: a file is missing or damaged.
    """

    def __init__(self, root: Path, *, with_images: bool = True) -> None:
        self._root, data = root, root / "data"
        self._path = data / "catalog.parquet"
        paths = (self._path, data / "classes.parquet", data / "splits.parquet")
        require_files(root, [*paths, *([data / "images"] if with_images else [])])
        catalog, splits = read_table(paths[0], CATALOG), read_table(paths[2], SPLITS)
        self._labels = label_sets(catalog["labels"])  # of the first rows: added images have none
        folders = [data / "images"]
        if has_added(root):
            folders.append(root / IMAGES_FOLDER)
            added = read_table(root / CATALOG_FILE, CATALOG).cast(catalog.schema)
            catalog = pa.concat_tables([catalog, added])
        self.images = AllImages(folders if with_images else [])
        is_test_query = pc.and_(splits["is_query"], pc.equal(splits["split"], "test"))
        self.queries: list[str] = splits.filter(is_test_query)["image_id"].to_pylist()
        self.train_ids = _ids_where(splits, pc.equal(splits["split"], "train"))
        self._gallery = _ids_where(splits, splits["is_gallery"])
        classes = read_table(paths[1], CLASSES)
        labels, names = (classes[column].to_pylist() for column in ("label", "name"))
        self._own_names: dict[int, str] = dict(zip(labels, names, strict=True))
        self._name_of_label = display_names(self._own_names)
        self._label_of_name = {name: label for label, name in self._name_of_label.items()}
        self.classes = sorted(self._label_of_name)
        self._groups = catalog["group"].combine_chunks()
        self.groups: list[str] = sorted(pc.unique(self._groups.drop_null()).to_pylist())
        self._ids = catalog["image_id"].combine_chunks()
        self._widths, self._heights = catalog["width"].to_numpy(), catalog["height"].to_numpy()
        self._rows = RowLookup(self._ids.to_pylist(), table=self._path)

    def classes_of(self, image_id: str) -> list[str]:
        """Return the names of an image's classes, sorted."""
        return list(names_of(self.labels_of(image_id), self._name_of_label))

    def group_of(self, image_id: str) -> str | None:
        """Return the name of an image's group, None where it has none."""
        name: str | None = self._groups[self._rows.find(image_id)].as_py()
        return name

    def labels_of(self, image_id: str) -> frozenset[int]:
        """Return an image's labels."""
        row = self._rows.find(image_id)
        if row >= len(self._labels):
            return frozenset()
        first, last = self._labels.starts[row : row + 2]
        return frozenset(self._labels.values[first:last].tolist())

    def size_of(self, image_id: str) -> tuple[int, int]:
        """Return an image's width and height in pixels, without decoding it."""
        row = self._rows.find(image_id)
        return int(self._widths[row]), int(self._heights[row])

    def is_relevant(self, query: str, image_id: str) -> bool | None:
        """Return whether two images share a label; None if one has none, or all have the same."""
        labels, others = self.labels_of(query), self.labels_of(image_id)
        if len(self.classes) == 1 or not labels or not others:
            return None
        return not labels.isdisjoint(others)

    def find_label(self, name: str) -> int:
        """Return the label of a class, its name in whatever form of Unicode.

        Raises:
            UnknownNameError: there is no such class.
        """
        label = self._label_of_name.get(normalize("NFC", name))
        if label is None:
            raise _unknown("class", name, self.classes)
        return label

    def own_name_of(self, name: str) -> str:
        """Return the name of a class in the dataset, which may have line breaks.

        Raises:
            UnknownNameError: there is no such class.
        """
        return self._own_names[self.find_label(name)]

    def find_group(self, name: str) -> str:
        """Return the name of a group as the dataset has it; raises as `find_label`."""
        group = normalize("NFC", name)
        if group not in self.groups:
            raise _unknown("group", name, self.groups)
        return group

    def mask_class(self, name: str, ids: Sequence[str]) -> Mask:
        """Return bool [N]: which of the N images in `ids`, such as an index's, are of a class.

        Raises:
            UnknownNameError: there is no such class.
            UserError: an id is not in the catalog.
        """
        label = self.find_label(name)
        rows = np.repeat(np.arange(len(self._labels)), np.diff(self._labels.starts))
        in_class = np.zeros(len(self._ids), dtype=bool)
        in_class[rows[self._labels.values == label]] = True
        return in_class[self._find_rows(ids)]

    def mask_group(self, name: str, ids: Sequence[str]) -> Mask:
        """Return bool [N]: which images in `ids` are of a group; raises as `mask_class`."""
        in_group = pc.equal(self._groups, self.find_group(name)).fill_null(False)
        mask: Mask = in_group.to_numpy(zero_copy_only=False)[self._find_rows(ids)]
        return mask

    def mask_gallery(self, ids: Sequence[str]) -> Mask:
        """Return bool [N]: which images in `ids` are in the gallery that evaluation measures."""
        return np.array([image_id in self._gallery for image_id in ids], dtype=bool)

    def _find_rows(self, ids: Sequence[str]) -> Ints:
        return find_rows(ids, self._ids, ids_from=self._root / "index", table=self._path)


def _unknown(kind: str, found: str, names: Sequence[str]) -> UnknownNameError:
    # The first of them alone: there may be thousands.
    allowed = f"allowed: {name_first(names)}" if names else f"the dataset has no {kind}"
    close = closest(found, names)
    hint = "" if close is None else f"; did you mean '{close}'?"
    return UnknownNameError(f"{kind}: found '{found}'; {allowed}{hint}")


def _ids_where(splits: pa.Table, mask: pa.ChunkedArray) -> frozenset[str]:
    return frozenset(splits.filter(mask)["image_id"].to_pylist())


def require_files(root: Path, paths: Sequence[Path]) -> None:
    """Raise a UserError that names the first missing one of `paths`, and how to get it.

    root: of the project that they are in; without a project there, the error says that.
    """
    for path in paths:
        if not path.exists():
            require_project(root)
            raise UserError(
                f"{path}: no such file or folder; bring back what the last run made: dvc checkout, "
                f"{advise_making()}"
            )

"""Any dataset of the Hugging Face Hub with one label for each image, from its Parquet files.

The Hub keeps each dataset as Parquet in its branch refs/convert/parquet, as
<config>/<split>/*.parquet; many datasets are Parquet already, as data/<split>-*.parquet in main.
Both layouts are read, fetched or from a folder; a dataset's loading script is never run. Each image
of the split `test` is a query and in the gallery; if it is null, the dataset has no split.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.tables import told_as_damaged
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.parquet_images import COPY, check_groups, read_cell
from pipeline.datasets.source_files import walk_files
from pipeline.datasets.source_image import NoImagesError, SourceImage
from pipeline.datasets.subset import SubsetOptions
from pipeline.errors import UserError, name_choices, one_line


class HuggingFaceOptions(SubsetOptions):
    """path: on the Hub, as owner/name; null reads the source. train, test: names of splits. image,
    label: names of columns."""

    path: str | None
    revision: str
    config: str | None
    train: str
    test: str | None
    image: str
    label: str


def files(options: HuggingFaceOptions) -> Mapping[str, tuple[str, str | None]]:
    """Return {name: (URL, the Hub's checksum)} of the Parquet files of `path`, if one is given.

    Raises:
        UserError: the Hub does not list them, or none is of a wanted split.
    """
    if options.path is None:
        return {}
    # The import takes half a second; only a fetch from the Hub needs it.
    from huggingface_hub import HfApi, hf_hub_url

    place = {"repo_type": "dataset", "revision": options.revision}
    try:
        entries = list(HfApi().list_repo_tree(options.path, recursive=True, **place))
    except Exception as error:  # which exceptions it raises depends on its version
        raise UserError(
            f"data.huggingface: the Hub does not list '{options.path}' at "
            f"{options.revision} ({one_line(error)}); correct data.huggingface.path or .revision, "
            "or set path: null and data.source to a folder of its Parquet files"
        ) from None
    # Small files and folders, which git stores without LFS, have no SHA-256 here.
    sums: dict[str, str | None] = {
        entry.path: f"sha256:{entry.lfs.sha256}" if getattr(entry, "lfs", None) else None
        for entry in entries
    }
    where = f"{options.path} at {options.revision}"
    return {
        name: (hf_hub_url(options.path, name, **place), sums[name])
        for name in choose_files(sums, options, where=where)
    }


def read_images(source: Path, options: HuggingFaceOptions, _seed: int) -> Iterator[SourceImage]:
    """Yield an image for each row of the Parquet files of the wanted splits in `source`.

    A row with a null label gives an image without labels. A label is called by the name that the
    file has for it, if any.

    Raises:
        UserError: there are no such files or columns, or a label is not one text or number.
    """
    files = (path for path in walk_files(source) if path.suffix == ".parquet")
    names = sorted(path.relative_to(source).as_posix() for path in files)
    for name, roles in choose_files(names, options, where=str(source)).items():
        path = source / name
        content = _open(path, options)
        classes = _class_names(content.schema_arrow, options.label)
        row = 0
        for group in range(content.num_row_groups):
            with told_as_damaged(path, COPY):
                labels = content.read_row_group(group, columns=[options.label]).column(0)
            for place, label in enumerate(labels.to_pylist()):
                yield SourceImage(
                    path=f"{name.removesuffix('.parquet')}/{row:07d}",
                    labels=_labels(label, classes, where=f"{path}: row {row + 1}"),
                    read=partial(read_cell, path, options.image, group, place),
                    source_split=None if options.test is None else roles,
                )
                row += 1


def choose_files(
    names: Iterable[str], options: HuggingFaceOptions, *, where: str
) -> dict[str, str]:
    """Return {name: roles} of those of the files `names` that are of the wanted config and splits.

    Raises:
        UserError: a split has no file, or the files are of several configs.
    """
    wanted = {options.train: "train"}
    if options.test is not None:
        wanted[options.test] = "query+gallery"
    chosen: dict[str, str] = {}
    configs: set[str] = set()
    present: set[str] = set()
    for path in (PurePosixPath(name) for name in sorted(names)):
        if path.suffix != ".parquet" or path.is_absolute() or ".." in path.parts:
            continue
        # <config>/<split>/0000.parquet, or data/<split>-00000-of-00001.parquet
        folders, stem = path.parts[:-1], path.stem.split("-")[0]
        in_folder = bool(folders) and (
            stem.isdecimal() or (folders[-1] in wanted and stem not in wanted)
        )
        split = folders[-1] if in_folder else stem
        config = "/".join(folders[:-1] if in_folder else folders)
        if options.config in (None, config):
            present.add(split)
            if split in wanted:
                configs.add(config)
                chosen[str(path)] = wanted[split]
    _check_chosen(wanted, present, configs, where=where)
    return chosen


def _check_chosen(
    wanted: Mapping[str, str], present: set[str], configs: set[str], *, where: str
) -> None:
    for split, roles in wanted.items():
        if split not in present:
            key = "train" if roles == "train" else "test"
            raise NoImagesError(
                f"{where}: found no Parquet file of the split '{split}', but of "
                f"{', '.join(sorted(present)) or 'none'}; allowed: <config>/<split>/*.parquet or "
                f"<split>-*.parquet; set data.huggingface.{key} (or config, or data.source)"
            )
    if len(configs) > 1:
        raise UserError(
            f"{where}: found the configs {', '.join(sorted(configs))}; allowed: one; set "
            "data.huggingface.config"
        )


def _open(path: Path, options: HuggingFaceOptions) -> pq.ParquetFile:
    with told_as_damaged(path, COPY):
        content = pq.ParquetFile(path)
    for key, column in (("image", options.image), ("label", options.label)):
        if column not in content.schema_arrow.names:
            found = name_choices(column, content.schema_arrow.names)
            raise UserError(f"{path}: data.huggingface.{key}: {found}")
    check_groups(content, options.image, path)
    return content


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the names of classes that the Hub's `datasets` library wrote into a file, if any."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = about["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return [str(name) for name in names]


def _labels(label: Any, classes: list[str] | None, *, where: str) -> tuple[str, ...]:
    if label is None:
        return ()
    if not isinstance(label, str | int):
        raise UserError(
            f"{where}: found the label {label!r}; allowed: a text or a whole number; set "
            "data.huggingface.label"
        )
    if classes is None or isinstance(label, str):
        return (str(label),)
    if not 0 <= label < len(classes):
        # The Hub marks a test set with secret labels so.
        return ()
    return (classes[label],)


HUGGINGFACE = Dataset(options=HuggingFaceOptions, read_images=read_images, files=files)

"""Reading the files of published datasets: where they are, and their lists of images."""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.datasets.source_files import subfolders
from pipeline.datasets.source_image import NoImagesError
from pipeline.datasets.subset import SubsetOptions
from pipeline.errors import UserError

# Archives, and the folders that people unpack them into, add a level or two around the dataset, and
# some datasets have their lists in a subfolder.
DEPTH = 3

Download = TypeVar("Download")


class OfficialOptions(SubsetOptions):
    """official: whether to fetch the dataset from its authors instead of reading the source."""

    official: bool


def if_official(
    downloads: Mapping[str, Download],
) -> Callable[[OfficialOptions], Mapping[str, Download]]:
    """Return `Dataset.archives` or `.files`: `downloads` if the option `official` is true."""
    return lambda options: downloads if options.official else {}


def find(source: Path, name: str, *, otherwise: str) -> Path:
    """Return the file or folder `name` (it may have slashes) in `source` or up to DEPTH below it.

    Raises:
        UserError: there is none. otherwise: the end of its text, what is allowed and what to do.
    """
    for folder in folders_within(source):
        if (folder / name).exists():
            return folder / name
    raise NoImagesError(f"{source}: found no {name}; allowed for {otherwise}")


def folders_within(source: Path) -> Iterator[Path]:
    """Yield `source` and the folders up to DEPTH below it, the upper ones first."""
    folders = [source]
    for _ in range(DEPTH + 1):
        yield from folders
        folders = [inner for folder in folders for inner in subfolders(folder)]


def read_rows(table: Path, columns: str, *, skip: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Yield each row of a text file as (where it is, for error texts; its values).

    columns: their names, separated by spaces as the values are; the last value may hold spaces.
    skip: the number of lines above the rows.

    Raises:
        UserError: the file is missing, is not UTF-8, or a row has fewer values.
    """
    number = len(columns.split())
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{table}: no such file; get a whole copy of the dataset") from None
    except UnicodeDecodeError:
        raise UserError(f"{table}: not a text in UTF-8; get a whole copy of it") from None
    for place, line in enumerate(lines[skip:], start=skip + 1):
        values = line.split(maxsplit=number - 1)
        if values and len(values) < number:
            raise UserError(
                f"{table}: line {place}: found '{line}'; allowed: {columns}; get a whole copy of it"
            )
        if values:
            yield f"{table}: line {place}", [value.strip() for value in values]


def parse_whole(text: str, *, where: str) -> int:
    """Return the whole number in `text`, a value of the row at `where`.

    Raises:
        UserError: it is not a whole number.
    """
    if not text.isascii() or not text.isdecimal():
        raise UserError(f"{where}: found '{text}'; allowed: a whole number; get a whole copy of it")
    return int(text)


def listed_file(root: Path, name: str, *, where: str) -> Path:
    """Return the file `name` of `root`, which is in a list at `where`.

    Raises:
        UserError: there is no such file, or the name leads out of `root`.
    """
    path = PurePosixPath(name)
    # os.path.isfile takes any text for a name, one that is too long too.
    if path.is_absolute() or ".." in path.parts or not os.path.isfile(root / path):
        raise UserError(
            f"{where}: lists '{name}', but there is no such file in {root}; allowed: all files of "
            "the list; get a whole copy of the dataset"
        )
    return root / path


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Return `pixels`, uint8 (height, width) or (height, width, 3), as PNG."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG")
    return out.getvalue()

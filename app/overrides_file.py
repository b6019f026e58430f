"""overrides.csv, to which people add what they correct in a dataset; `download` reads it."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from pipeline.data.files import written_whole
from pipeline.errors import UserError
from pipeline.packing.overrides import COLUMNS, check_columns

NAME = "overrides.csv"

Row = tuple[str, str, str]  # the columns: image_id, action, label


def append_overrides(path: Path, rows: Iterable[Row]) -> list[Row]:
    """Append to the file at `path`, which is made where it is missing, and return what was added.

    Rows of images that the file names already are left out, and its own lines stay as they are.

    Raises:
        UserError: the file is no table of overrides, or cannot be read or written.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig") if path.exists() else ",".join(COLUMNS) + "\n"
        lines = csv.reader(io.StringIO(text, newline=""))
        check_columns(next(lines, []), path)
        named = {line[0] for line in lines if line}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); allowed: a file in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV ({error}); save it as such") from None
    added = [row for row in rows if row[0] not in named]
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(added)
    if not text.endswith("\n"):
        text += "\n"
    try:
        with written_whole(path) as (unfinished,):
            unfinished.write_bytes((text + written.getvalue()).encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    return added

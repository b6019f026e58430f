"""The folder that a command writes results to: all files or none, and no other file is lost."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from app.project import list_stage_outputs
from pipeline.data.files import replace_all, unfinished_in
from pipeline.data.tables import Table, write_table
from pipeline.errors import UserError

# Of the table's metadata: the names of the sheets that were written with it.
KEY = "lookalike.sheets"


class OutputFolder:
    """A folder for sheets and their table, which replace those of an earlier run of the command.

    kind: the table's columns and name. what: the command's noun, such as "query", for messages.
    sheets: the patterns of the names of its sheets.

    root: of the project, whose stages' outputs are not to be mixed with these.

    Raises:
        UserError: the path is a file; the folder is or contains an output of a stage, or is inside
            of one; or it has a file that would be overwritten and that no earlier run wrote.
    """

    def __init__(
        self, folder: Path, *, kind: Table, what: str, sheets: Sequence[str], root: Path
    ) -> None:
        self.folder = folder
        self._kind = kind
        self.written: list[Path] = []
        self._sheets: list[Path] = []
        self._names: list[str] = []
        self._table: pa.Table | None = None
        self._unfinished = folder
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: found a file; allowed: a folder, or nothing; choose --out")
        _refuse_outputs(folder, root)
        self._earlier = self._find_earlier()
        found = [path for pattern in sheets for path in sorted(folder.glob(pattern))]
        for path in [self._table_path, *found]:
            if path.exists() and path not in self._earlier:
                raise UserError(
                    f"{path}: no {what} wrote it, and it would be overwritten; move it, or choose "
                    "another folder: --out"
                )

    @property
    def _table_path(self) -> Path:
        return self.folder / f"{self._kind.name}.parquet"

    @contextmanager
    def writing(self) -> Iterator["OutputFolder"]:
        """Collect sheets and a table in the block, and write them at its end if it succeeds."""
        existed = self.folder.exists()
        with ExitStack() as stack:
            if not existed:
                stack.callback(self._remove_if_empty)
            try:
                self._unfinished = stack.enter_context(unfinished_in(self.folder))
            except OSError as error:
                raise UserError(
                    f"{self.folder}: cannot be written ({error.strerror}); "
                    "choose another folder: --out"
                ) from None
            yield self
            if self._table is not None:
                self._publish()

    def _remove_if_empty(self) -> None:
        with suppress(OSError):  # it is not empty
            self.folder.rmdir()

    def add_sheet(self, sheet: Image.Image, name: str | None = None) -> None:
        """Add a sheet; without names, sheets are numbered."""
        path = self._unfinished / f"{len(self._sheets) + 1}.png"
        sheet.save(path)
        self._sheets.append(path)
        if name is not None:
            self._names.append(name)

    def add_table(self, table: pa.Table) -> None:
        """Set the table; without one nothing is written."""
        self._table = table

    def _publish(self) -> None:
        count = len(self._sheets)
        numbered = [f"sheet_{n:03d}.png" for n in range(1, count + 1)]
        names = self._names or (["sheet.png"] if count == 1 else numbered)
        table = self._unfinished / self._table_path.name
        write_table(self._table, table, self._kind, metadata={KEY: json.dumps(names)})
        self.written = [*(self.folder / name for name in names), self._table_path]
        earlier = self._find_earlier()  # another process may have written since
        replace_all([*self._sheets, table], self.written)
        for path in earlier:
            if path not in self.written:
                path.unlink(missing_ok=True)

    def _find_earlier(self) -> list[Path]:
        """Return the files that the last run wrote here, from the metadata of its table."""
        table = self._table_path
        try:
            metadata = pq.read_schema(table).metadata or {}
            names = json.loads(metadata[KEY.encode()])
        except (OSError, pa.ArrowInvalid, KeyError, ValueError, RecursionError):
            return []
        return [table, *(self.folder / Path(name).name for name in names)]


def _refuse_outputs(folder: Path, root: Path) -> None:
    """Raise a UserError where a file in `folder` would be in an output of a stage, or beside it."""
    place = folder.resolve()
    for output in list_stage_outputs(root):
        path = output.resolve()
        if path.is_relative_to(place) or place.is_relative_to(path):
            raise UserError(
                f"{folder}: found {output}, which dvc repro writes; allowed: a folder of its own; "
                "choose --out"
            )

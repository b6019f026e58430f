"""The folder that a query writes to: all of its files or none, and nobody else's."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.errors import UserError
from pipeline.schemas import ANSWERS, write_table

TABLE = "answers.parquet"
# In the table's metadata: the names of the sheets that were written with it.
KEY = "lookalike.sheets"


class QueryFolder:
    """Where sheets and their table go. What an earlier query wrote there is replaced.

    Raises:
        UserError: the folder cannot be one, or holds a file that would be overwritten and that no
            earlier query wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: list[Path] = []
        self._sheets: list[Path] = []
        self._table: pa.Table | None = None
        self._unfinished = folder / ".unfinished"
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: found a file; allowed: a folder, or nothing; choose --out")
        self._earlier = self._find_earlier()
        for path in [folder / TABLE, *sorted(folder.glob("sheet*.png"))]:
            if path.exists() and path not in self._earlier:
                raise UserError(
                    f"{path}: no query wrote it, and it would be overwritten; move it, or choose "
                    "another folder: --out"
                )

    @contextmanager
    def writing(self) -> Iterator["QueryFolder"]:
        """Take sheets and a table; where all goes well, they are there afterwards."""
        existed = self.folder.exists()
        shutil.rmtree(self._unfinished, ignore_errors=True)
        try:
            self._unfinished.mkdir(parents=True)
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot be written ({error.strerror}); choose another folder: --out"
            ) from None
        try:
            yield self
            if self._table is not None:
                self._publish()
        finally:
            shutil.rmtree(self._unfinished, ignore_errors=True)
            if not existed and not any(self.folder.iterdir()):
                self.folder.rmdir()

    def add_sheet(self, sheet: Image.Image) -> None:
        """Keep a sheet until the folder is written."""
        path = self._unfinished / f"{len(self._sheets) + 1}.png"
        sheet.save(path)
        self._sheets.append(path)

    def add_table(self, table: pa.Table) -> None:
        """Keep the table of the answers, without which nothing is written."""
        self._table = table

    def _publish(self) -> None:
        count = len(self._sheets)
        names = ["sheet.png"] if count == 1 else [f"sheet_{n:03d}.png" for n in range(1, count + 1)]
        table = self._unfinished / TABLE
        write_table(self._table, table, ANSWERS, metadata={KEY: json.dumps(names)})
        self.written = [self.folder / name for name in (*names, TABLE)]
        for unfinished, path in zip([*self._sheets, table], self.written, strict=True):
            os.replace(unfinished, path)
        for path in self._earlier:
            if path not in self.written:
                path.unlink(missing_ok=True)

    def _find_earlier(self) -> list[Path]:
        """Return what the last query wrote here; its table tells."""
        table = self.folder / TABLE
        try:
            metadata = pq.read_schema(table).metadata or {}
            names = json.loads(metadata[KEY.encode()])
        except (OSError, pa.ArrowInvalid, KeyError, ValueError):
            return []
        return [table, *(self.folder / Path(name).name for name in names)]

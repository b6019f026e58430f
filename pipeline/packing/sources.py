"""Where a dataset's files are: found, fetched or unpacked, as a folder to read from."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError
from pipeline.packing.archives import unpack


@contextmanager
def open_source(
    source: Path, archives: Mapping[str, str | None], *, downloads: Path
) -> Iterator[Path]:
    """Give the folder that holds a dataset's files, for as long as the context lasts.

    Where there are `archives` (URL -> checksum, as `fetch` takes it), they are fetched into
    `downloads` and take the place of `source`: all of them are unpacked into one folder. An
    archive is unpacked into a temporary folder in `downloads`, a folder is given as it is.

    Raises:
        UserError: there is nothing at `source`, it is no archive, an archive that is damaged or
            unsafe, or the fetch failed.
    """
    if not archives and source.is_dir():
        yield source
        return
    if not archives and not source.exists():
        raise UserError(
            f"{source}: no such folder or archive; allowed: a folder, .tar, .tar.gz, .tar.bz2, "
            ".tar.xz, .zip; set data.source"
        )
    files = _fetch_all(archives, downloads) if archives else [source]
    downloads.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(downloads)
    prefix = f"unpacked-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=downloads) as folder:
        for file in files:
            unpack(file, Path(folder))
        yield Path(folder)


def _fetch_all(archives: Mapping[str, str | None], downloads: Path) -> list[Path]:
    # requests and pooch cost a quarter of a second, which only a fetch is to pay.
    from pipeline.packing.fetch import fetch

    return [fetch(url, downloads, checksum=checksum) for url, checksum in archives.items()]


def _clear_abandoned(downloads: Path) -> None:
    """Remove what killed runs had unpacked; another experiment's that still runs is left alone."""
    for folder in downloads.glob("unpacked-*"):
        try:
            os.kill(int(folder.name.split("-")[1]), 0)  # asks whether it lives, sends nothing
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            pass  # alive, and somebody else's

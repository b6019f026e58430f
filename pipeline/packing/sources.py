"""Where a dataset's files are: found, fetched or unpacked, as a folder to read from."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.packing.archives import unpack


@contextmanager
def open_source(source: Path, options: Mapping[str, Any], *, downloads: Path) -> Iterator[Path]:
    """Give the folder that holds a dataset's files, for as long as the context lasts.

    Where the dataset has an option `url` and it is set, that is fetched into `downloads` (and must
    have the checksum `sha256`, where that is set) and takes the place of `source`. An archive is
    unpacked into a temporary folder in `downloads`, a folder is given as it is.

    Raises:
        UserError: there is nothing at `source`, it is no archive, an archive that is damaged or
            unsafe, or the fetch failed.
    """
    if options.get("url") is not None:
        # requests and pooch cost a quarter of a second, which only a fetch is to pay.
        from pipeline.packing.fetch import fetch

        source = fetch(options["url"], downloads, sha256=options.get("sha256"))
    if source.is_dir():
        yield source
        return
    if not source.exists():
        raise UserError(
            f"{source}: no such folder or archive; allowed: a folder, .tar, .tar.gz, .tar.bz2, "
            ".tar.xz, .zip; set data.source"
        )
    downloads.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(downloads)
    prefix = f"unpacked-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=downloads) as folder:
        unpack(source, Path(folder))
        yield Path(folder)


def _clear_abandoned(downloads: Path) -> None:
    """Remove what killed runs had unpacked; another experiment's that still runs is left alone."""
    for folder in downloads.glob("unpacked-*"):
        try:
            os.kill(int(folder.name.split("-")[1]), 0)  # asks whether it lives, sends nothing
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            pass  # alive, and somebody else's

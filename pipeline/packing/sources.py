"""Where a dataset's files are: found, fetched or unpacked, as a folder to read from."""

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import UserError
from pipeline.packing.archives import unpack


@contextmanager
def open_source(
    source: Path,
    archives: Mapping[str, str | None],
    *,
    downloads: Path,
    files: Mapping[str, tuple[str, str | None]] | None = None,
) -> Iterator[Path]:
    """Give the folder that holds a dataset's files, for as long as the context lasts.

    Where there are `archives` (URL -> checksum, as `fetch` takes it) or `files` (name -> URL and
    checksum), they are fetched into `downloads` and take the place of `source`: all of them lie
    in one folder, archives unpacked, files as they are by their names, which may have slashes. An
    archive is unpacked into a temporary folder in `downloads`, a folder is given as it is.

    Raises:
        UserError: there is nothing at `source`, it is no archive, an archive that is damaged or
            unsafe, or the fetch failed.
    """
    fetched = bool(archives or files)
    if not fetched and source.is_dir():
        yield source
        return
    if not fetched and not source.exists():
        raise UserError(
            f"{source}: no such folder or archive; allowed: a folder, .tar, .tar.gz, .tar.bz2, "
            ".tar.xz, .zip; set data.source"
        )
    to_unpack = _fetch_all(archives.items(), downloads) if fetched else [source]
    urls = dict(files or {})
    to_place = dict(zip(urls, _fetch_all(urls.values(), downloads), strict=True))
    downloads.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(downloads)
    folder = downloads / f"unpacked-{uuid.uuid4().hex}"
    with _held(folder):
        try:
            for archive in to_unpack:
                unpack(archive, folder)
            for name, file in to_place.items():
                _place(file, folder / name)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _fetch_all(urls: Iterable[tuple[str, str | None]], downloads: Path) -> list[Path]:
    # requests and pooch cost a quarter of a second, which only a fetch is to pay.
    from pipeline.packing.fetching import fetch

    return [fetch(url, downloads, checksum=checksum) for url, checksum in urls]


def _place(file: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, path)  # at no cost in space, where the disk's format can
    except OSError:
        shutil.copyfile(file, path)


def _clear_abandoned(downloads: Path) -> None:
    """Remove what killed runs had unpacked; another experiment's that still runs is left alone."""
    for folder in downloads.glob("unpacked-*"):
        if folder.is_dir():
            with suppress(Timeout), _held(folder):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock that says that `folder` is in use; the system frees it when a run is killed.

    Raises:
        filelock.Timeout: another run holds it.
    """
    lock = folder.with_suffix(".lock")
    with FileLock(lock, timeout=0):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)

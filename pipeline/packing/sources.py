"""The files of a dataset as one folder: as it is, fetched, or unpacked."""

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
    option: str = "data.source",
    also: str = "",
) -> Iterator[Path]:
    """Yield the folder with a dataset's files, which exists as long as the context.

    Without `archives` and `files`, this is `source`, or a temporary folder in `downloads` if
    `source` is an archive. Otherwise they are fetched into `downloads` and read instead of
    `source`: all are in one temporary folder, the archives unpacked.

    option: of params.yaml, for the error text. also: the suffix of files that the caller
        reads as they are.
    archives: URL -> checksum, as `fetch` takes it. files: name, which may have slashes, -> URL and
    checksum.

    Raises:
        UserError: `source` does not exist or is not an archive, an archive is damaged or unsafe,
            or a file cannot be fetched.
    """
    fetched = bool(archives or files)
    if not fetched and not source.exists():
        raise UserError(
            f"{source}: no such folder or archive; allowed: a folder, .tar, .tar.gz, .tar.bz2, "
            f".tar.xz, .zip{also and f', {also}'}; set {option}"
        )
    if not fetched and (source.is_dir() or (also and source.suffix.lower() == also)):
        yield source
        return
    to_unpack = _fetch_all(archives.items(), downloads) if fetched else [source]
    urls = dict(files or {})
    to_place = dict(zip(urls, _fetch_all(urls.values(), downloads), strict=True))
    downloads.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(downloads)
    folder = downloads / f"unpacked-{uuid.uuid4().hex}"
    with _locked(folder):
        try:
            for archive in to_unpack:
                unpack(archive, folder)
            for name, file in to_place.items():
                _place(file, folder / name)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _fetch_all(urls: Iterable[tuple[str, str | None]], downloads: Path) -> list[Path]:
    # To import requests and pooch takes a quarter of a second, and only a fetch needs them.
    from pipeline.packing.fetching import fetch

    return [fetch(url, downloads, checksum=checksum) for url, checksum in urls]


def _place(file: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, path)  # takes no space, if the file system can
    except OSError:
        shutil.copyfile(file, path)


def _clear_abandoned(downloads: Path) -> None:
    """Remove what killed runs unpacked, but not what a running experiment uses."""
    for folder in downloads.glob("unpacked-*"):
        if folder.is_dir():
            with suppress(Timeout), _locked(folder):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock `folder` as being in use; the system unlocks it when the run is killed.

    Raises:
        filelock.Timeout: another run has locked it.
    """
    lock = folder.with_suffix(".lock")
    with FileLock(lock, timeout=0):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)

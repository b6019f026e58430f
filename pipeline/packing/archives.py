"""Unpack tar and zip archives that nobody vouches for, without writing outside their folder."""

import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline.errors import UserError

# What the unpacked files must leave free on the disk, for the packed pictures and all the rest.
SPARE_BYTES = 256 * 2**20
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError)


@dataclass(frozen=True)
class _Member:
    """One file of an archive, its name checked: inside the folder, neither link nor device."""

    name: str
    size: int
    content: IO[bytes]


def unpack(archive: Path, folder: Path, *, free_bytes: int | None = None) -> None:
    """Write the files of `archive` into `folder`, which is made, as plain files only.

    A link becomes a copy of the file that it names inside the archive: since no link is ever
    made, no later member can be written through one. `free_bytes` is what may be filled; the
    free space of the disk, less a reserve, by default.

    Raises:
        UserError: a member is absolute, has `..`, is a device, or is a link that leads out or to
            no file; the files are larger than `free_bytes`; the archive is damaged, encrypted or
            of another kind. What was unpacked until then stays in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if free_bytes is None:
        free_bytes = max(0, shutil.disk_usage(folder).free - SPARE_BYTES)
    total = 0
    try:
        for member in _members(archive):
            total += member.size
            if total > free_bytes:
                raise UserError(
                    f"{archive}: unpacks to more than the {free_bytes:,} bytes that the disk of "
                    f"{folder} can take (at '{member.name}'); free some space or unpack it "
                    "elsewhere and name that folder as data.source"
                )
            _write(member, folder, archive=archive)
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{archive}: damaged archive ({reason}); get a whole copy of it") from None


def _members(archive: Path) -> Iterator[_Member]:
    if tarfile.is_tarfile(archive):
        return _tar_members(archive)
    if zipfile.is_zipfile(archive):
        return _zip_members(archive)
    raise UserError(
        f"{archive}: neither a folder nor an archive; allowed: a folder, .tar, .tar.gz, .tar.bz2, "
        ".tar.xz, .zip; set data.source to one of these"
    )


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, "r:*") as tar:
        for entry in tar:
            _check_name(entry.name, archive=archive)
            if entry.isdir():
                continue
            file = _linked(tar, entry, archive=archive) if entry.islnk() or entry.issym() else entry
            if not file.isreg():
                raise _refusal(archive, entry.name, found="is a device or a pipe")
            content = tar.extractfile(file)
            if content is not None:
                yield _Member(entry.name, file.size, content)


def _linked(tar: tarfile.TarFile, link: tarfile.TarInfo, *, archive: Path) -> tarfile.TarInfo:
    start = posixpath.dirname(link.name) if link.issym() else ""
    target = posixpath.normpath(posixpath.join(start, link.linkname))
    if _leads_out(target):
        raise _refusal(archive, link.name, found=f"is a link that leads out, to '{link.linkname}'")
    file = next(
        (entry for entry in tar.getmembers() if posixpath.normpath(entry.name) == target), None
    )
    if file is None or not file.isreg():
        raise _refusal(archive, link.name, found=f"is a link to no file, '{link.linkname}'")
    return file


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as zipped:
        for entry in zipped.infolist():
            _check_name(entry.filename, archive=archive)
            if entry.is_dir():
                continue
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise _refusal(
                    archive, entry.filename, found="is a link, which a zip cannot resolve"
                )
            if entry.flag_bits & 0x1:
                raise _refusal(archive, entry.filename, found="is encrypted")
            with zipped.open(entry) as content:
                yield _Member(entry.filename, entry.file_size, content)


def _check_name(name: str, *, archive: Path) -> None:
    if posixpath.isabs(name):
        raise _refusal(archive, name, found="has an absolute path")
    if ".." in PurePosixPath(name).parts:
        raise _refusal(archive, name, found="has '..' in its path")


def _leads_out(path: str) -> bool:
    return posixpath.isabs(path) or path.split("/")[0] == ".."


def _refusal(archive: Path, member: str, *, found: str) -> UserError:
    return UserError(
        f"{archive}: member '{member}' {found}; allowed: files and folders inside the archive; "
        "make the archive again without it"
    )


def _write(member: _Member, folder: Path, *, archive: Path) -> None:
    path = folder / member.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as out:
            shutil.copyfileobj(member.content, out, 2**20)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _refusal(archive, member.name, found="is both a file and a folder") from None

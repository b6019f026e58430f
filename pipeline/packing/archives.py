"""Unpack tar and zip archives that nobody vouches for, without writing outside their folder."""

import errno
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from tarfile import EOFHeaderError, HeaderError, ReadError  # type: ignore[attr-defined]
from typing import IO, Self

from pipeline.errors import UserError

# What the unpacked files must leave free on the disk, for the packed images and all the rest.
SPARE_BYTES = 256 * 2**20
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, UnicodeError)


@dataclass(frozen=True)
class _Member:
    """One file of an archive, its name checked: inside the folder, neither link nor device."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


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
    with _telling_damage(archive):
        for member in _members(archive):
            total += member.size
            if total > free_bytes:
                raise UserError(
                    f"{archive}: unpacks to more than the {free_bytes:,} bytes that the disk of "
                    f"{folder} can take (at '{member.name}'); free some space or unpack it "
                    "elsewhere and name that folder as data.source"
                )
            _write(member, folder, archive=archive)


@contextmanager
def _telling_damage(archive: Path, *, where: str = "") -> Iterator[None]:
    try:
        yield
    except (*_BROKEN, OSError) as error:
        # gzip and bz2 tell of damage by an OSError without a number; with one it is the disk.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(
            f"{archive}: damaged archive ({where}{_one_line(error)}); get a whole copy of it"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _members(archive: Path) -> Iterator[_Member]:
    if tarfile.is_tarfile(archive):
        return _tar_members(archive)
    if zipfile.is_zipfile(archive):
        return _zip_members(archive)
    raise UserError(
        f"{archive}: neither a folder nor an archive; allowed: a folder, .tar, .tar.gz, .tar.bz2, "
        ".tar.xz, .zip; set data.source to one of these"
    )


class _CheckedHeader(tarfile.TarInfo):
    """A header that must be whole: tarfile takes a broken one for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            if isinstance(error, EOFHeaderError):  # the block of zeros that ends an archive
                raise
            raise ReadError(str(error)) from None


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive, "r:*", tarinfo=_CheckedHeader) as tar:
        for entry in tar:
            _check_name(entry.name, archive=archive)
            if entry.isdir():
                continue
            file = _linked(tar, entry, archive=archive) if entry.islnk() or entry.issym() else entry
            if not file.isreg():
                raise _refusal(archive, entry.name, found="is a device or a pipe")
            yield _Member(entry.name, file.size, partial(_open_tar_member, tar, file))
        # A compressed archive has its checksum at the very end.
        while tar.fileobj is not None and tar.fileobj.read(2**20):
            pass


def _open_tar_member(tar: tarfile.TarFile, file: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(file)
    if content is None:
        raise ReadError("no content")
    return content


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
            yield _Member(entry.filename, entry.file_size, partial(zipped.open, entry))


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
        with (
            _telling_damage(archive, where=f"'{member.name}': "),
            member.open() as content,
            open(path, "wb") as out,
        ):
            shutil.copyfileobj(content, out, 2**20)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _refusal(archive, member.name, found="is both a file and a folder") from None
    except RuntimeError as error:  # a zip's encryption, or a method of compression unknown here
        found = f"cannot be read ({_one_line(error)})"
        raise _refusal(archive, member.name, found=found) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise _refusal(archive, member.name, found="has a name too long for this disk") from None

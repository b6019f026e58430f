"""Unpack untrusted tar and zip archives, without writing outside of one folder."""

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

from pipeline.errors import UserError, one_line

# The unpacked files must leave so much of the disk free, for the packed images and other files.
SPARE_BYTES = 256 * 2**20
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, UnicodeError)


@dataclass(frozen=True)
class _Member:
    """One file of an archive, checked: inside the folder, neither link nor device."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, *, free_bytes: int | None = None) -> None:
    """Write the files of `archive` into `folder`, which is made, as plain files only.

    A link becomes a copy of the file of the archive that it points to: as no link is made, no
    member can be written through one.

    free_bytes: how much may be written; by default the free space of the disk, less a reserve.

    Raises:
        UserError: a member has an absolute path or `..`, is a device, or is a link that points
            outside or to no file; the files are larger than `free_bytes`; the archive is damaged,
            encrypted or of another format. The files unpacked before the error stay in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if free_bytes is None:
        free_bytes = max(0, shutil.disk_usage(folder).free - SPARE_BYTES)
    total = 0
    with _damage_as_user_error(archive):
        for member in _members(archive):
            total += member.size
            if total > free_bytes:
                raise UserError(
                    f"{archive}: unpacks to more than the {free_bytes:,} bytes that are free for "
                    f"{folder} (at '{member.name}'); free some space, or unpack it elsewhere and "
                    "set data.source to that folder"
                )
            _write(member, folder, archive=archive)


@contextmanager
def _damage_as_user_error(archive: Path, *, where: str = "") -> Iterator[None]:
    try:
        yield
    except (*_BROKEN, OSError) as error:
        # gzip and bz2 raise an OSError without a number for damage; with one, it is the disk.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(
            f"{archive}: damaged archive ({where}{one_line(error)}); get a whole copy of it"
        ) from None


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
    """A header that must be whole: tarfile treats a broken one as the end of the archive."""

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
                raise _member_error(archive, entry.name, found="is a device or a pipe")
            yield _Member(entry.name, file.size, partial(_open_tar_member, tar, file))
        # A compressed archive has its checksum at the end, so all of it is read.
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
    if _is_outside(target):
        raise _member_error(
            archive, link.name, found=f"is a link to a path outside, '{link.linkname}'"
        )
    file = next(
        (entry for entry in tar.getmembers() if posixpath.normpath(entry.name) == target), None
    )
    if file is None or not file.isreg():
        raise _member_error(archive, link.name, found=f"is a link to no file, '{link.linkname}'")
    return file


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as zipped:
        for entry in zipped.infolist():
            _check_name(entry.filename, archive=archive)
            if entry.is_dir():
                continue
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise _member_error(
                    archive, entry.filename, found="is a link, which a zip cannot resolve"
                )
            if entry.flag_bits & 0x1:
                raise _member_error(archive, entry.filename, found="is encrypted")
            yield _Member(entry.filename, entry.file_size, partial(zipped.open, entry))


def _check_name(name: str, *, archive: Path) -> None:
    if posixpath.isabs(name):
        raise _member_error(archive, name, found="has an absolute path")
    if ".." in PurePosixPath(name).parts:
        raise _member_error(archive, name, found="has '..' in its path")


def _is_outside(path: str) -> bool:
    return posixpath.isabs(path) or path.split("/")[0] == ".."


def _member_error(archive: Path, member: str, *, found: str) -> UserError:
    return UserError(
        f"{archive}: member '{member}' {found}; allowed: files and folders inside the archive; "
        "make a new archive without it"
    )


def _write(member: _Member, folder: Path, *, archive: Path) -> None:
    path = folder / member.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            _damage_as_user_error(archive, where=f"'{member.name}': "),
            member.open() as content,
            open(path, "wb") as out,
        ):
            shutil.copyfileobj(content, out, 2**20)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _member_error(archive, member.name, found="is both a file and a folder") from None
    except RuntimeError as error:  # an encrypted zip, or an unknown method of compression
        found = f"cannot be read ({one_line(error)})"
        raise _member_error(archive, member.name, found=found) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise _member_error(
            archive, member.name, found="has a name too long for this disk"
        ) from None

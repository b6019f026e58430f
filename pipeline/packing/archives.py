"""Unpack untrusted tar and zip archives, without writing outside of one folder."""

import errno
import os
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from tarfile import EOFHeaderError, HeaderError, ReadError  # type: ignore[attr-defined]
from typing import IO, Any, Self

from pipeline.errors import UserError, one_line

# The unpacked files must leave so much of the disk free, for the packed images and other files.
SPARE_BYTES = 256 * 2**20
# A few kilobytes may unpack to gigabytes, so what is held in memory has a limit: the target of a
# link (PATH_MAX of Linux), and a header of a tar with the long names and attributes before it.
LINK_BYTES = 4096
HEADER_BYTES = 2**20
# Of the fields of a zip's member (APPNOTE.TXT, 4.4.2 and 4.4.4).
ENCRYPTED, NAME_IS_UTF8 = 0x1, 0x800
MS_DOS = 0
_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError),
    ValueError,  # of a number or a name that is none
    RecursionError,  # tarfile reads headers that belong together by recursion
)
# Python's zipfile unpacks as many compressed bytes at a time as it is asked for, and bounds what
# comes out for these methods alone; of the others a megabyte may unpack to gigabytes.
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class _Member:
    """One file of an archive, checked: inside the folder, neither link nor device.

    chunk: how many bytes to read of it at a time.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]
    chunk: int = 2**20


@dataclass(frozen=True)
class _Link:
    """A symbolic link of an archive, checked: it points to a path inside the folder."""

    name: str
    target: str


def unpack(archive: Path, folder: Path, *, free_bytes: int | None = None) -> None:
    """Write the files of `archive` into `folder`, which is made.

    Symbolic links are made last, so that no member is written through one, and all of them must
    lead to a file or a folder of the archive; a hard link becomes a copy. Names in a zip are read
    as UTF-8 where they are, as macOS writes them without saying so, and with backslashes as
    Windows may write them.

    free_bytes: how much may be written; by default the free space of the disk, less a reserve.

    Raises:
        UserError: a member has an absolute path or `..`, is a device, or is a link that points
            outside or to nothing, or has more than LINK_BYTES; the files are larger than
            `free_bytes`; the archive is damaged, encrypted or of another format. The files unpacked
            before the error stay in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if free_bytes is None:
        free_bytes = max(0, shutil.disk_usage(folder).free - SPARE_BYTES)
    total = 0
    links: dict[str, _Link] = {}
    with _damage_as_user_error(archive):
        for member in _members(archive):
            if isinstance(member, _Link):
                links[member.name] = member
                continue
            total += member.size
            if total > free_bytes:
                raise UserError(
                    f"{archive}: unpacks to more than the {free_bytes:,} bytes that are free for "
                    f"{folder} (at '{member.name}'); free some space, or unpack it elsewhere and "
                    "set data.source to that folder"
                )
            _write(member, folder, archive=archive)
    _make_links(list(links.values()), folder, archive=archive)


def _make_links(links: Sequence[_Link], folder: Path, *, archive: Path) -> None:
    try:
        for link in links:
            _make_link(link, folder, archive=archive)
        # A target may lead through another link: where it is, only all of them together tell.
        for link in links:
            _check_target(link, folder, archive=archive)
    except UserError:
        for link in links:
            if (folder / link.name).is_symlink():
                (folder / link.name).unlink()
        raise


def _make_link(link: _Link, folder: Path, *, archive: Path) -> None:
    path = folder / link.name
    if Path(os.path.realpath(path.parent)) != Path(os.path.realpath(folder), link.name).parent:
        raise _member_error(archive, link.name, found="is in a folder that is a link")
    with _name_as_user_error(link.name, archive=archive):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(link.target)


def _check_target(link: _Link, folder: Path, *, archive: Path) -> None:
    real = Path(os.path.realpath(folder / link.name))
    if not real.is_relative_to(os.path.realpath(folder)):
        raise _leads_out(link.name, link.target, archive=archive)
    if not real.exists():
        raise _member_error(archive, link.name, found=f"is a link to no file, '{link.target}'")


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


def _members(archive: Path) -> Iterator[_Member | _Link]:
    if _is_tar(archive):
        return _tar_members(archive)
    if zipfile.is_zipfile(archive):
        return _zip_members(archive)
    raise UserError(
        f"{archive}: neither a folder nor an archive; allowed: a folder, .tar, .tar.gz, .tar.bz2, "
        ".tar.xz, .zip; set data.source to one of these"
    )


class _LongHeaderError(tarfile.TarError):
    """A header of more than HEADER_BYTES."""


class _HeaderReader:
    """What tarfile reads headers from: at most HEADER_BYTES of `content`."""

    def __init__(self, content: Any) -> None:
        self.content, self.left, self.tell = content, HEADER_BYTES, content.tell

    def read(self, size: int) -> bytes:
        if size > self.left:
            raise _LongHeaderError(f"a header has more than {HEADER_BYTES:,} bytes")
        self.left -= size
        found: bytes = self.content.read(size)
        return found


class _CheckedHeader(tarfile.TarInfo):
    """A header that must be whole: tarfile treats a broken one as the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        content = tarfile.fileobj
        tarfile.fileobj = _HeaderReader(content)  # type: ignore[assignment]
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            if isinstance(error, EOFHeaderError):  # the block of zeros that ends an archive
                raise
            raise ReadError(str(error)) from None
        finally:
            tarfile.fileobj = content


def _is_tar(archive: Path) -> bool:
    """As tarfile.is_tarfile, which has no limit for the first header."""
    try:
        tarfile.open(archive, "r:*", tarinfo=_CheckedHeader).close()
    except (ReadError, tarfile.CompressionError):
        return False
    return True


def _tar_members(archive: Path) -> Iterator[_Member | _Link]:
    with tarfile.open(archive, "r:*", tarinfo=_CheckedHeader) as tar:
        for entry in tar:
            _check_name(entry.name, archive=archive)
            if entry.isdir():
                continue
            if entry.issym():
                yield _link(entry.name, entry.linkname, archive=archive)
                continue
            file = _linked(tar, entry, archive=archive) if entry.islnk() else entry
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
    """Return the file that a hard link is another name of."""
    target = posixpath.normpath(link.linkname)
    if _is_outside(target):
        raise _leads_out(link.name, link.linkname, archive=archive)
    file = next(
        (entry for entry in tar.getmembers() if posixpath.normpath(entry.name) == target), None
    )
    if file is None or not file.isreg():
        raise _member_error(archive, link.name, found=f"is a link to no file, '{link.linkname}'")
    return file


def _zip_members(archive: Path) -> Iterator[_Member | _Link]:
    with zipfile.ZipFile(archive) as zipped:
        for entry in zipped.infolist():
            name = _zip_name(entry)
            _check_name(name, archive=archive)
            if entry.is_dir() or name.endswith("/"):
                continue
            if entry.flag_bits & ENCRYPTED:
                raise _member_error(archive, name, found="is encrypted")
            if stat.S_ISLNK(entry.external_attr >> 16):
                with _name_as_user_error(name, archive=archive), zipped.open(entry) as content:
                    target = content.read(LINK_BYTES + 1).decode(errors="surrogateescape")
                yield _link(name, target, archive=archive)
                continue
            chunk = 2**20 if entry.compress_type in _BOUNDED else 2**12
            yield _Member(name, entry.file_size, partial(zipped.open, entry), chunk)


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Return the name of `entry` with slashes, in UTF-8 if its bytes are.

    Without a flag for UTF-8, zipfile reads the code page 437 of MS-DOS; but macOS's Finder and
    Info-ZIP write UTF-8 and set no flag. Some programs for Windows write backslashes.
    """
    name = entry.filename
    if not entry.flag_bits & NAME_IS_UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/") if entry.create_system == MS_DOS else name


def _link(name: str, target: str, *, archive: Path) -> _Link:
    if len(target) > LINK_BYTES:
        found = f"is a link with a target of more than {LINK_BYTES:,} bytes"
        raise _member_error(archive, name, found=found)
    if _is_outside(posixpath.normpath(posixpath.join(posixpath.dirname(name), target))):
        raise _leads_out(name, target, archive=archive)
    return _Link(name, target)


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


def _leads_out(name: str, target: str, *, archive: Path) -> UserError:
    return _member_error(archive, name, found=f"is a link to a path outside, '{target}'")


def _write(member: _Member, folder: Path, *, archive: Path) -> None:
    path = folder / member.name
    with _name_as_user_error(member.name, archive=archive):
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            _damage_as_user_error(archive, where=f"'{member.name}': "),
            member.open() as content,
            open(path, "wb") as out,
        ):
            shutil.copyfileobj(content, out, member.chunk)


@contextmanager
def _name_as_user_error(name: str, *, archive: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _member_error(archive, name, found="is both a file and a folder") from None
    except RuntimeError as error:  # an encrypted zip, or an unknown method of compression
        found = f"cannot be read ({one_line(error)})"
        raise _member_error(archive, name, found=found) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise _member_error(archive, name, found="has a name too long for this disk") from None

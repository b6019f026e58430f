"""Unpack untrusted tar and zip archives, without writing outside of one folder."""

import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from tarfile import EOFHeaderError, HeaderError, ReadError  # type: ignore[attr-defined]
from typing import IO, Any, Self

from pipeline.errors import UserError, one_line
from pipeline.packing.archive_errors import leads_out, member_error, name_as_user_error
from pipeline.packing.archive_links import LINK_BYTES, Link, make_links
from pipeline.packing.archive_work import Work

# The unpacked files must leave so much of the disk free, for the packed images and other files.
SPARE_BYTES = 256 * 2**20
# A few kilobytes may unpack to gigabytes, so what is held in memory has a limit: a header of a tar
# with the long names and attributes before it.
HEADER_BYTES = 2**20
# Of the fields of a zip's member (APPNOTE.TXT, 4.4.2 and 4.4.4).
ENCRYPTED, NAME_IS_UTF8 = 0x1, 0x800
MS_DOS = 0
_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError),
    ValueError,  # of a number or a name that is none
    IndexError,  # of an empty name
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


def unpack(archive: Path, folder: Path, *, free_bytes: int | None = None) -> None:
    """Write the files of `archive` into `folder`, which is made.

    Symbolic links are made last, so that no member is written through one, and all of them must
    lead to a file or a folder of the archive; a hard link, of a file before it, counts as a copy.
    Names in a zip are read as UTF-8 where they are, as macOS writes them without saying so, and
    with backslashes as Windows may write them.

    free_bytes: how much may be written; by default the free space of the disk, less a reserve.

    Raises:
        UserError: a member has an absolute path or `..`, is a device, or is a link that points
            outside or to nothing, or has more than LINK_BYTES; the files are larger than
            `free_bytes`; the archive has more members, content, headers, links or levels of folders
            than its size explains; it is damaged, encrypted or of another format. The files
            unpacked before the error stay in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if free_bytes is None:
        free_bytes = max(0, shutil.disk_usage(folder).free - SPARE_BYTES)
    work = Work(archive, free_bytes, folder)
    links: dict[str, Link] = {}
    with _damage_as_user_error(archive):
        for member in _members(archive, work):
            if isinstance(member, Link):
                work.add_link(member)
                links[posixpath.normpath(member.name)] = member
                continue
            work.add_content(member.name, member.size)
            _write(member, folder, archive=archive)
    make_links(links, folder, archive=archive)


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


def _members(archive: Path, work: Work) -> Iterator[_Member | Link]:
    if _is_tar(archive):
        return _tar_members(archive, work)
    if zipfile.is_zipfile(archive):
        return _zip_members(archive, work)
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


def _tar_members(archive: Path, work: Work) -> Iterator[_Member | Link]:
    with tarfile.open(archive, "r:*", tarinfo=_CheckedHeader) as tar:
        while (entry := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # all of them would stay in memory
            work.add_member(entry.name)
            work.check_overhead(entry.offset_data)
            _check_name(entry.name, archive=archive)
            if entry.isdir():
                continue
            if entry.issym():
                yield _link(entry.name, entry.linkname, archive=archive)
            elif entry.islnk():
                yield _hard_link(entry, work)
            elif entry.isreg():
                yield _Member(entry.name, entry.size, partial(_open_tar_member, tar, entry))
            else:
                raise member_error(archive, entry.name, found="is a device or a pipe")
        # A compressed archive has its checksum at the end, so all of it is read.
        while tar.fileobj is not None and tar.fileobj.read(2**20):
            work.check_overhead(tar.fileobj.tell())


def _open_tar_member(tar: tarfile.TarFile, file: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(file)
    if content is None:
        raise ReadError("no content")
    return content


def _hard_link(link: tarfile.TarInfo, work: Work) -> _Member:
    """Return the file that a hard link is another name of, which is before it in the archive.

    It is read from where it was unpacked: to go back in a compressed archive unpacks all again.
    """
    target = posixpath.normpath(link.linkname)
    if _is_outside(target):
        raise leads_out(link.name, link.linkname, archive=work.archive)
    file = work.folder / target
    if not file.is_file() or target == posixpath.normpath(link.name):
        found = f"is a link to no file, '{link.linkname}'"
        raise member_error(work.archive, link.name, found=found)
    return _Member(link.name, file.stat().st_size, lambda: open(file, "rb"))


def _open_zip(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except NotImplementedError as error:  # a version of zip that there will never be
        raise zipfile.BadZipFile(str(error)) from None


def _zip_members(archive: Path, work: Work) -> Iterator[_Member | Link]:
    with _open_zip(archive) as zipped:
        _check_overlap(zipped)
        for entry in zipped.infolist():
            name = _zip_name(entry)
            work.add_member(name)
            _check_name(name, archive=archive)
            if entry.is_dir() or name.endswith("/"):
                continue
            if entry.flag_bits & ENCRYPTED:
                raise member_error(archive, name, found="is encrypted")
            if stat.S_ISLNK(entry.external_attr >> 16):
                with name_as_user_error(name, archive=archive), zipped.open(entry) as content:
                    target = content.read(LINK_BYTES + 1).decode(errors="surrogateescape")
                yield _link(name, target, archive=archive)
                continue
            chunk = 2**20 if entry.compress_type in _BOUNDED else 2**12
            yield _Member(name, entry.file_size, partial(zipped.open, entry), chunk)


def _check_overlap(zipped: zipfile.ZipFile) -> None:
    """Refuse entries that share bytes: a few of these could be the content of many files."""
    end = 0
    for entry in sorted(zipped.infolist(), key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise zipfile.BadZipFile(f"'{entry.filename}' overlaps another file")
        end = entry.header_offset + zipfile.sizeFileHeader + entry.compress_size  # type: ignore[attr-defined]


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


def _link(name: str, target: str, *, archive: Path) -> Link:
    if len(target) > LINK_BYTES:
        found = f"is a link with a target of more than {LINK_BYTES:,} bytes"
        raise member_error(archive, name, found=found)
    if _is_outside(posixpath.normpath(posixpath.join(posixpath.dirname(name), target))):
        raise leads_out(name, target, archive=archive)
    return Link(name, target)


def _check_name(name: str, *, archive: Path) -> None:
    if posixpath.isabs(name):
        raise member_error(archive, name, found="has an absolute path")
    if ".." in PurePosixPath(name).parts:
        raise member_error(archive, name, found="has '..' in its path")


def _is_outside(path: str) -> bool:
    return posixpath.isabs(path) or path.split("/")[0] == ".."


def _write(member: _Member, folder: Path, *, archive: Path) -> None:
    path = folder / member.name
    with name_as_user_error(member.name, archive=archive):
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            _damage_as_user_error(archive, where=f"'{member.name}': "),
            member.open() as content,
            open(path, "wb") as out,
        ):
            shutil.copyfileobj(content, out, member.chunk)

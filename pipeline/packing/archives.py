"""Unpack untrusted tar and zip archives, without writing outside of one folder."""

import errno
import os
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
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
# A small archive must not make hours of work, so what is counted is work. Real ones stay far below:
# the files of images have hundreds of bytes, and hardly get smaller by compression.
FREE_MEMBERS, BYTES_PER_MEMBER = 100_000, 64  # of the archive
FREE_CONTENT, TIMES_ITS_SIZE = 4 * 2**30, 100
# Of a tar: headers, and what comes after the end. GNU tar fills up to 10 KiB, tapes to megabytes.
FREE_OVERHEAD, OVERHEAD_PER_MEMBER = 64 * 2**20, 8 * 2**10
LINKS_BYTES = 32 * 2**20  # names and targets of the symbolic links, which are kept to the end
FOLDERS_DEEP = 64
LINKS_DEEP = 40  # Linux follows no more
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
    work = _Work(archive, free_bytes, folder)
    links: dict[str, _Link] = {}
    with _damage_as_user_error(archive):
        for member in _members(archive, work):
            if isinstance(member, _Link):
                work.add_link(member)
                links[posixpath.normpath(member.name)] = member
                continue
            work.add_content(member.name, member.size)
            _write(member, folder, archive=archive)
    _make_links(links, folder, archive=archive)


class _Work:
    """Counts what an archive makes us do, and refuses it where that is out of proportion.

    Raises (each method):
        UserError: there is more than is allowed for an archive of this size.
    """

    def __init__(self, archive: Path, free_bytes: int, folder: Path) -> None:
        self.archive, self.free_bytes, self.folder = archive, free_bytes, folder
        self.size = archive.stat().st_size
        self.members = self.content = self.links = 0

    def add_member(self, name: str) -> None:
        self.members += 1
        self._check("members", self.members, FREE_MEMBERS + self.size // BYTES_PER_MEMBER)
        if name.count("/") > FOLDERS_DEEP:
            found = f"is in more than {FOLDERS_DEEP} folders"
            raise _member_error(self.archive, name[:LINK_BYTES], found=found)

    def add_content(self, name: str, size: int) -> None:
        self.content += size
        if self.content > self.free_bytes:
            raise UserError(
                f"{self.archive}: unpacks to more than the {self.free_bytes:,} bytes that are free "
                f"for {self.folder} (at '{name}'); free some space, or unpack it elsewhere and "
                "set data.source to that folder"
            )
        allowed = FREE_CONTENT + TIMES_ITS_SIZE * self.size
        self._check("bytes of unpacked files", self.content, allowed)

    def add_link(self, link: _Link) -> None:
        self.links += len(link.name) + len(link.target)
        self._check("bytes of symbolic links", self.links, LINKS_BYTES)

    def check_overhead(self, unpacked: int) -> None:
        """unpacked: how many bytes of the tar itself have been read."""
        allowed = FREE_OVERHEAD + OVERHEAD_PER_MEMBER * self.members
        self._check("bytes beside its files", unpacked - self.content, allowed)

    def _check(self, what: str, found: int, allowed: int) -> None:
        if found > allowed:
            raise UserError(
                f"{self.archive}: has {found:,} {what} or more; allowed for an archive of "
                f"{self.size:,} bytes: {allowed:,}; if you trust it, unpack it yourself and set "
                "data.source to that folder"
            )


def _make_links(links: Mapping[str, _Link], folder: Path, *, archive: Path) -> None:
    """Make the links, if all of them lead to something. links: by their normalized names."""
    targets = _LinkTargets(links, folder)
    for name, link in links.items():
        if any(targets.is_link(str(parent)) for parent in PurePosixPath(name).parents[:-1]):
            raise _member_error(archive, link.name, found="is in a folder that is a link")
        try:
            target, _ = targets.follow(name)
            if not os.path.lexists(folder / target):
                raise _BadLinkError("to no file")
        except _BadLinkError as error:
            found = f"is a link {error}, '{link.target}'"
            raise _member_error(archive, link.name, found=found) from None
    for link in links.values():
        path = folder / link.name
        with _name_as_user_error(link.name, archive=archive):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(link.target)


class _BadLinkError(Exception):
    """Where a symbolic link leads that must not."""


class _LinkTargets:
    """Where symbolic links lead, through other links of the archive.

    By their names alone, and each link once: `os.path.realpath` would follow a chain again for
    each of its links.
    """

    def __init__(self, links: Mapping[str, _Link], folder: Path) -> None:
        self.links, self.folder = links, folder
        self.known: dict[str, tuple[str, int]] = {}

    def is_link(self, path: str) -> bool:
        """Whether it is one of `links`, or of an archive that was unpacked here before."""
        return path in self.links or (self.folder / path).is_symlink()

    def follow(self, name: str, depth: int = 1) -> tuple[str, int]:
        """Return (the path in the folder that the link `name` leads to, through how many links).

        Raises:
            _BadLinkError: it leads out of the folder, or through more than LINKS_DEEP.
        """
        if name not in self.known:
            self.known[name] = name, 1  # of a circle: here is no file
            self.known[name] = self._resolve(name, depth)
        found = self.known[name]
        if found[1] > LINKS_DEEP:
            raise _BadLinkError(f"through more than {LINKS_DEEP} links")
        return found

    def _resolve(self, name: str, depth: int) -> tuple[str, int]:
        path, followed = posixpath.dirname(name), 1
        if depth > LINKS_DEEP:
            return path, depth
        for part in self.links[name].target.split("/"):
            if part in (".", ""):
                continue
            if part == ".." and not path:
                raise _BadLinkError("to a path outside")
            path = posixpath.dirname(path) if part == ".." else posixpath.join(path, part)
            if path in self.links:
                path, more = self.follow(path, depth + 1)
                followed += more
            elif self.is_link(path):
                raise _BadLinkError("through a link of another archive")
        return path, followed


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


def _members(archive: Path, work: _Work) -> Iterator[_Member | _Link]:
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


def _tar_members(archive: Path, work: _Work) -> Iterator[_Member | _Link]:
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
                raise _member_error(archive, entry.name, found="is a device or a pipe")
        # A compressed archive has its checksum at the end, so all of it is read.
        while tar.fileobj is not None and tar.fileobj.read(2**20):
            work.check_overhead(tar.fileobj.tell())


def _open_tar_member(tar: tarfile.TarFile, file: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(file)
    if content is None:
        raise ReadError("no content")
    return content


def _hard_link(link: tarfile.TarInfo, work: _Work) -> _Member:
    """Return the file that a hard link is another name of, which is before it in the archive.

    It is read from where it was unpacked: to go back in a compressed archive unpacks all again.
    """
    target = posixpath.normpath(link.linkname)
    if _is_outside(target):
        raise _leads_out(link.name, link.linkname, archive=work.archive)
    file = work.folder / target
    if not file.is_file() or target == posixpath.normpath(link.name):
        found = f"is a link to no file, '{link.linkname}'"
        raise _member_error(work.archive, link.name, found=found)
    return _Member(link.name, file.stat().st_size, lambda: open(file, "rb"))


def _zip_members(archive: Path, work: _Work) -> Iterator[_Member | _Link]:
    with zipfile.ZipFile(archive) as zipped:
        _check_overlap(zipped)
        for entry in zipped.infolist():
            name = _zip_name(entry)
            work.add_member(name)
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

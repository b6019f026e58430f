"""How much work an archive may make: counted, and limited in proportion to its size."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.packing.archive_errors import member_error
from pipeline.packing.archive_links import LINK_BYTES, Link

# A small archive must not make hours of work, so what is counted is work. Real ones stay far below:
# the files of images have hundreds of bytes, and hardly get smaller by compression.
FREE_MEMBERS, BYTES_PER_MEMBER = 100_000, 64  # of the archive
FREE_CONTENT, TIMES_ITS_SIZE = 4 * 2**30, 100
# Of a tar: headers, and what comes after the end. GNU tar fills up to 10 KiB, tapes to megabytes.
FREE_OVERHEAD, OVERHEAD_PER_MEMBER = 64 * 2**20, 8 * 2**10
LINKS_BYTES = 32 * 2**20  # names and targets of the symbolic links, which are kept to the end
FOLDERS_DEEP = 64


class Work:
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
            raise member_error(self.archive, name[:LINK_BYTES], found=found)

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

    def add_link(self, link: Link) -> None:
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

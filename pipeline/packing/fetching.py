"""Fetch a file from a URL once, check its checksum, and resume an interrupted download."""

import os
import time
from math import ceil
from pathlib import Path
from typing import Any

import pooch
import requests
from filelock import FileLock
from pooch.utils import unique_file_name

from pipeline.errors import UserError, one_line
from pipeline.progress import show_progress

ATTEMPTS = 4
TIMEOUT_SECONDS = 30
# When the connection breaks, the current block is lost; so blocks are small.
BLOCK_BYTES = 2**16


def fetch(url: str, folder: Path, *, checksum: str | None, wait_seconds: float = 1.0) -> Path:
    """Return the file in `folder` with the content of `url`, fetched unless it is already there.

    checksum: "sha256:…" or "md5:…", as pooch writes them; None accepts any content. Until the file
    is whole and has this checksum, it is named `<name>.part`; a later call continues from there by
    an HTTP Range request, if the server still has the same version. After a broken connection it
    tries again in `wait_seconds`, then in twice that time, and so on.

    Raises:
        UserError: the server refuses, the connection breaks each time, or the checksum differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = unique_file_name(url)
    # Two experiments of one queue may want the same file at once.
    with FileLock(folder / f"{name}.lock"):
        known = checksum and checksum.lower()
        kind, _, wanted = (known or "").partition(":")
        download = _ResumingDownload(folder / f"{name}.part", kind, wait_seconds)
        try:
            path = pooch.retrieve(url, known, fname=name, path=folder, downloader=download)
        except ValueError:
            # pooch compares the checksum before it renames the file, and deletes a wrong file.
            raise UserError(
                f"{url}: the {kind} is {download.found}; allowed: {wanted}; correct the URL or the "
                "checksum"
            ) from None
    return Path(path)


class _ResumingDownload:
    """A downloader for pooch that writes to `part`, and keeps it until it is whole.

    `found` is then its checksum, of the given `kind` ("" for none).
    """

    def __init__(self, part: Path, kind: str, wait_seconds: float) -> None:
        self.part = part
        self.version = part.with_name(part.name + ".version")
        self.kind = kind
        self.wait_seconds = wait_seconds
        self.found = ""

    def __call__(self, url: str, output: str | os.PathLike[str], _: Any) -> None:
        """Fetch `url` to `output`; begin with what `part` already has."""
        for attempt in range(ATTEMPTS):
            try:
                self._continue(url)
                break
            except requests.RequestException as error:
                if not _may_succeed_later(error) or attempt == ATTEMPTS - 1:
                    raise self._error(url, error) from None
                time.sleep(self.wait_seconds * 2**attempt)
        if self.kind:
            self.found = pooch.file_hash(str(self.part), alg=self.kind)
        os.replace(self.part, output)  # not by written_whole, which would remove a partial download
        self.version.unlink(missing_ok=True)

    def _continue(self, url: str) -> None:
        have = self._resumable_bytes()
        # identity: of a compressed body, the length of `part` would not say where to resume.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self.version.read_text()}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                # Nothing follows: `part` is whole if its size is the file's, else it is useless.
                if response.headers.get("Content-Range") != f"bytes */{have}":
                    self.part.unlink()
                    raise requests.ConnectionError("the server has another version of the file")
                return
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            if resumed and not response.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            ):
                self.part.unlink()
                raise requests.ConnectionError("the server did not send the requested range")
            self._write_version(response)
            self._receive(response, append=resumed)

    def _resumable_bytes(self) -> int:
        # Without the version, the rest might be of another file than this start.
        if self.part.is_file() and self.version.is_file():
            return self.part.stat().st_size
        return 0

    def _write_version(self, response: requests.Response) -> None:
        tag = response.headers.get("ETag", "")
        version = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
        if version:
            self.version.write_text(version)
        else:
            self.version.unlink(missing_ok=True)

    def _receive(self, response: requests.Response, *, append: bool) -> None:
        length = response.headers.get("Content-Length", "")
        blocks = ceil(int(length) / BLOCK_BYTES) if length.isdecimal() else None
        received = response.iter_content(BLOCK_BYTES)
        with open(self.part, "ab" if append else "wb") as out:
            for block in show_progress(received, total=blocks, what=self.part.stem):
                out.write(block)

    def _error(self, url: str, error: requests.RequestException) -> UserError:
        have = self.part.stat().st_size if self.part.is_file() else 0
        kept = "; run it again to continue from there" if self._resumable_bytes() else ""
        reason = one_line(error)
        if error.response is not None:
            reason = f"HTTP {error.response.status_code} {error.response.reason}"
        return UserError(f"{url}: not fetched ({reason}); {have:,} bytes are here{kept}")


def _may_succeed_later(error: requests.RequestException) -> bool:
    if error.response is not None:
        return error.response.status_code >= 500
    return not isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema)

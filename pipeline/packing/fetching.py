"""Fetch a file from a URL once: checked by its checksum, and resumed where it was interrupted."""

import os
import time
from math import ceil
from pathlib import Path
from typing import Any

import pooch
import requests
from filelock import FileLock
from pooch.utils import unique_file_name

from pipeline.errors import UserError
from pipeline.progress import show_progress

ATTEMPTS = 4
TIMEOUT_SECONDS = 30
# A block that a broken connection cuts short is lost, so a small one.
BLOCK_BYTES = 2**16


def fetch(url: str, folder: Path, *, checksum: str | None, wait_seconds: float = 1.0) -> Path:
    """Return the file in `folder` that holds what is at `url`, fetched unless it is there already.

    Until it is whole and has the `checksum` ("sha256:…" or "md5:…", as pooch writes them; None
    takes what comes) it is named `<name>.part`; a later call goes on from there by an HTTP Range
    request, where the server still has the same version. A connection that breaks is tried again
    after `wait_seconds`, then twice that, and so on.

    Raises:
        UserError: the server refuses, the connection keeps breaking, or the checksum is another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = unique_file_name(url)
    # Two experiments of one queue may want the same file at once.
    with FileLock(folder / f"{name}.lock"):
        # pooch tells on its logger where it puts the file and, without a checksum, the one it has.
        known = checksum and checksum.lower()
        kind, _, wanted = (known or "").partition(":")
        download = _ResumingDownload(folder / f"{name}.part", kind, wait_seconds)
        try:
            path = pooch.retrieve(url, known, fname=name, path=folder, downloader=download)
        except ValueError:
            # pooch compares before it publishes, and has deleted what it compared.
            raise UserError(
                f"{url}: the {kind} is {download.found}; allowed: {wanted}, so this is another "
                "file than was meant; correct the URL or the checksum"
            ) from None
    return Path(path)


class _ResumingDownload:
    """A downloader for pooch that keeps what it has in `part` until that is whole.

    `found` is then its checksum, where a `kind` is asked for.
    """

    def __init__(self, part: Path, kind: str, wait_seconds: float) -> None:
        self.part = part
        self.version = part.with_name(part.name + ".version")
        self.kind = kind
        self.wait_seconds = wait_seconds
        self.found = ""

    def __call__(self, url: str, output: str | os.PathLike[str], _: Any) -> None:
        """Bring `url` to `output`, from what `part` has of it already."""
        for attempt in range(ATTEMPTS):
            try:
                self._go_on(url)
                break
            except requests.RequestException as error:
                if not _may_pass(error) or attempt == ATTEMPTS - 1:
                    raise UserError(self._failure(url, error)) from None
                time.sleep(self.wait_seconds * 2**attempt)
        if self.kind:
            self.found = pooch.file_hash(str(self.part), alg=self.kind)
        os.replace(self.part, output)
        self.version.unlink(missing_ok=True)

    def _go_on(self, url: str) -> None:
        have = self._resumable_bytes()
        # identity: a compressed body has no place in a file that is resumed by its length.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self.version.read_text()}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                # Nothing lies beyond what is here: whole if the server says so, else of no use.
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
                raise requests.ConnectionError("the server sent another range than asked for")
            self._note_version(response)
            self._receive(response, append=resumed)

    def _resumable_bytes(self) -> int:
        # Without a version to name there is no telling whether the rest belongs to this start.
        if self.part.is_file() and self.version.is_file():
            return self.part.stat().st_size
        return 0

    def _note_version(self, response: requests.Response) -> None:
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

    def _failure(self, url: str, error: requests.RequestException) -> str:
        have = self.part.stat().st_size if self.part.is_file() else 0
        kept = "; run it again, it goes on from there" if self._resumable_bytes() else ""
        return f"{url}: not fetched ({_reason(error)}); {have:,} bytes are here{kept}"


def _may_pass(error: requests.RequestException) -> bool:
    if error.response is not None:
        return error.response.status_code >= 500
    return not isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema)


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    return " ".join(str(error).split()) or type(error).__name__

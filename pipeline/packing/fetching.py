"""Fetch a file from a URL once, check what came, and resume an interrupted download."""

import os
import re
import shutil
import time
from codecs import getincrementaldecoder
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from math import ceil
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import IO, Any

import pooch
import requests
import urllib3
from filelock import FileLock
from pooch.utils import unique_file_name

from pipeline.errors import UserError, one_line
from pipeline.packing.archives import SPARE_BYTES
from pipeline.progress import show_progress

ATTEMPTS = 4
TIMEOUT_SECONDS = 30  # without a byte
BLOCK_BYTES = 2**16
# Files that may be text. A text in place of any other is what a server says instead of the file.
TEXTS = {".csv", ".json", ".jsonl", ".md", ".tsv", ".txt", ".xml", ".yaml"}
PAGES = (b"<!doctype html", b"<html")
TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
SHOWN_CHARACTERS = 80
BEGIN_BYTES = 4096


@dataclass(frozen=True)
class Pace:
    """The least that a server must send: `least_bytes` in each `seconds`, and its headers in these.

    A limit for single reads alone does not end a download that brings a byte now and then.
    """

    least_bytes: int = 60 * 2**10
    seconds: float = 60.0


def fetch(
    url: str,
    folder: Path,
    *,
    checksum: str | None,
    wait_seconds: float = 1.0,
    pace: Pace | None = None,
    free_bytes: int | None = None,
) -> Path:
    """Return the file in `folder` with the content of `url`, fetched unless it is already there.

    checksum: "sha256:…" or "md5:…", as pooch writes them; None accepts what has the announced
    length and is not a page or a text instead of the file. Until the file is whole and has this
    checksum, it is named `<name>.part`; a later call continues from there by an HTTP Range request,
    if the server still has the same version. After a connection that broke or was slower than
    `pace` it tries again in `wait_seconds`, then in twice that time, and so on.
    free_bytes: how much may be written; by default the free space of the disk, less a reserve.

    Raises:
        UserError: the server refuses, the connection breaks or is too slow each time, the file is
            larger than `free_bytes`, has another length or checksum, or is a page or a text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if free_bytes is None:
        free_bytes = max(0, shutil.disk_usage(folder).free - SPARE_BYTES)
    name = unique_file_name(url)
    # Two experiments of one queue may want the same file at once.
    with FileLock(folder / f"{name}.lock"):
        known = checksum and checksum.lower()
        kind, _, wanted = (known or "").partition(":")
        part = folder / f"{name}.part"
        download = _ResumingDownload(part, kind, wanted, wait_seconds, pace or Pace(), free_bytes)
        try:
            path = pooch.retrieve(url, known, fname=name, path=folder, downloader=download)
        except ValueError:
            # pooch compares the checksum before it renames the file, and deletes a wrong file.
            raise UserError(
                f"{url}: the {kind} is {download.found}; allowed: {wanted}; correct the URL or the "
                "checksum"
            ) from None
    return Path(path)


class _TooSlowError(requests.ConnectionError):
    """The server sent fewer bytes than its `Pace` asks for."""

    def __init__(self, what: str, pace: Pace) -> None:
        super().__init__(
            f"too slow: {what} in {pace.seconds:g} s; allowed: at least {pace.least_bytes:,} bytes"
        )


class _ResumingDownload:
    """A downloader for pooch that writes to `part`, and keeps it until it is whole.

    `found` is then its checksum, of the given `kind` ("" for none), of which `wanted` is expected.
    """

    def __init__(
        self,
        part: Path,
        kind: str,
        wanted: str,
        wait_seconds: float,
        pace: Pace,
        free_bytes: int,
    ) -> None:
        self.part = part
        self.version = part.with_name(part.name + ".version")
        self.kind, self.wanted = kind, wanted
        self.wait_seconds = wait_seconds
        self.pace = pace
        self.free_bytes = free_bytes
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
        if not self.kind or self.found != self.wanted:
            self._check_content(url)
        os.replace(self.part, output)  # not by written_whole, which would remove a partial download
        self.version.unlink(missing_ok=True)

    def _continue(self, url: str) -> None:
        have = self._resumable_bytes()
        # identity: of a compressed body, the length of `part` would not say where to resume.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self.version.read_text()}
        with _request(url, headers, self.pace) as response:
            if have and response.status_code == requests.codes.requested_range_not_satisfiable:
                # Nothing follows: `part` is whole if its size is the file's, else it is useless.
                if response.headers.get("Content-Range") != f"bytes */{have}":
                    self._discard()
                    raise requests.ConnectionError("the server has another version of the file")
                return
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            if resumed and not response.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            ):
                self._discard()
                raise requests.ConnectionError("the server did not send the requested range")
            self._write_version(response)
            self._receive(response, append=resumed)

    def _resumable_bytes(self) -> int:
        # Without the version, the rest might be of another file than this start.
        if self.part.is_file() and self.version.is_file():
            return self.part.stat().st_size
        return 0

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.version.unlink(missing_ok=True)

    def _write_version(self, response: requests.Response) -> None:
        tag = response.headers.get("ETag", "")
        version = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
        if version:
            self.version.write_text(version)
        else:
            self.version.unlink(missing_ok=True)

    def _receive(self, response: requests.Response, *, append: bool) -> None:
        announced = response.headers.get("Content-Length", "")
        length = int(announced) if announced.isdecimal() else None
        if length is not None:
            self._check_room(response.url, length)
        blocks = None if length is None else ceil(length / BLOCK_BYTES)
        with open(self.part, "ab" if append else "wb") as out:
            received = self._write_blocks(response, out, length)
            for _ in show_progress(received, total=blocks, what=self.part.stem):
                pass

    def _write_blocks(
        self, response: requests.Response, out: IO[bytes], length: int | None
    ) -> Iterator[None]:
        """Write what comes to `out`, and yield for each block of it.

        What a server sends as chunks may be more than the `length` that it announced, or endless.
        """
        written = reported = 0
        for piece in _receive_pieces(response.raw, self.pace):
            written += len(piece)
            if length is not None and written > length:
                raise self._wrong_length(response.url, f"more than {length:,}", length)
            self._check_room(response.url, written)
            out.write(piece)
            for _ in range(reported, written // BLOCK_BYTES):
                yield
            reported = written // BLOCK_BYTES
        if length is not None and written < length:
            raise self._wrong_length(response.url, f"{written:,}", length)
        if written % BLOCK_BYTES:
            yield

    def _wrong_length(self, url: str, found: str, length: int) -> UserError:
        self._discard()
        return UserError(
            f"{url}: {found} bytes came; allowed: the {length:,} that the server announced; run it "
            "again, or correct the URL"
        )

    def _check_room(self, url: str, needed: int) -> None:
        if needed > self.free_bytes:
            raise UserError(
                f"{url}: needs {needed:,} bytes or more; allowed: the {self.free_bytes:,} that are "
                f"free for {self.part.parent}; free some space"
            )

    def _check_content(self, url: str) -> None:
        """Refuse what a server sends, with status 200, to say that it does not send the file."""
        with open(self.part, "rb") as file:
            begin = file.read(BEGIN_BYTES)
        is_page = begin.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES)
        may_be_text = PurePosixPath(self.part.stem).suffix.lower() in TEXTS
        if not is_page and (may_be_text or not _is_text(begin)):
            return
        self._discard()
        kind = "a page" if is_page else "a text"
        found = f"{kind} that begins '{_first_words(begin)}'" if begin else "an empty file"
        raise UserError(
            f"{url}: {found} came; allowed: an archive or a file of data; it needs a login or "
            "another URL: correct the URL, or fetch the file yourself and set data.source"
        )

    def _error(self, url: str, error: requests.RequestException) -> UserError:
        have = self.part.stat().st_size if self.part.is_file() else 0
        again = "; run it again later" if _may_succeed_later(error) else ""
        if self._resumable_bytes():
            again = "; run it again to continue from there"
        reason = one_line(error)
        if error.response is not None:
            reason = f"HTTP {error.response.status_code} {error.response.reason}"
        return UserError(f"{url}: not fetched ({reason}); {have:,} bytes are here{again}")


def _request(url: str, headers: dict[str, str], pace: Pace) -> requests.Response:
    """Return the response, whose body is still to be read.

    A thread waits for it, because a server may send its headers byte by byte, and requests limits
    the time of each read alone.
    """
    answer: Future[requests.Response] = Future()

    def ask() -> None:
        try:
            answer.set_result(
                requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS)
            )
        except Exception as error:
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()
    try:
        return answer.result(timeout=pace.seconds)
    except TimeoutError:
        raise _TooSlowError("no whole header", pace) from None


def _receive_pieces(body: urllib3.HTTPResponse, pace: Pace) -> Iterator[bytes]:
    """Yield what is in `body`, as it comes.

    Raises:
        requests.ConnectionError: the connection breaks, or is slower than `pace`.
    """
    begin, received = time.monotonic(), 0
    while True:
        try:
            piece = body.read1(BLOCK_BYTES, decode_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(error) from None
        if not piece:
            return
        yield piece
        received += len(piece)
        if time.monotonic() - begin >= pace.seconds:
            if received < pace.least_bytes:
                raise _TooSlowError(f"{received:,} bytes", pace)
            begin, received = time.monotonic(), 0


def _is_text(begin: bytes) -> bool:
    try:
        # Not at its end: a character of several bytes may be cut there.
        text = getincrementaldecoder("utf-8-sig")().decode(begin)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def _first_words(begin: bytes) -> str:
    text = begin.decode("utf-8-sig", errors="replace")
    words = " ".join(TAGS.sub(" ", text).split()) or " ".join(text.split())
    return "".join(filter(str.isprintable, words[:SHOWN_CHARACTERS]))


def _may_succeed_later(error: requests.RequestException) -> bool:
    if error.response is not None:
        return error.response.status_code >= 500
    return not isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema)

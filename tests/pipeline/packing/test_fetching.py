"""A file is fetched once, resumed where it stopped, and never taken with another checksum."""

import hashlib
import random
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.packing.fetching import ATTEMPTS, BLOCK_BYTES, Pace, fetch
from pipeline.packing.sources import open_source

# The same in every test process.
BODY = random.Random(0).randbytes(300_000)  # noqa: S311 - a seed
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
MD5 = f"md5:{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"

NO_LENGTH = -1


class Server(ThreadingHTTPServer):
    """Serves `files` under their paths and `body` under any other.

    With what a server may have: versions, ranges, breakdowns.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.files: dict[str, bytes] = {}
        self.version: str | None = '"v1"'
        self.ranges = True
        self.status = 200
        self.breaks_after: list[int] = []  # of each next response, in bytes
        self.announced: int | None = None  # in place of the length
        self.chunked = False
        self.drips = ""  # which part of each response comes byte by byte: "header", "body"
        self.requested: list[str | None] = []  # the Range of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/p.tar"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"  # 1.0 has no chunks

    def do_GET(self) -> None:
        self.close_connection = True
        server = self.server
        server.requested.append(self.headers.get("Range"))
        body = server.files.get(self.path, server.body)
        start = 0
        if server.ranges and server.version and self.headers.get("If-Range") == server.version:
            start = int(re.findall(r"\d+", self.headers["Range"])[0])
        if server.status != 200:
            self.send_error(server.status)
            return
        if start and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if server.drips == "header":
            self.send_slowly(b"HTTP/1.1 200 OK\r\n" + b"X-Long: header\r\n" * 1000)
            return
        self.send_response(206 if start else 200)
        if server.announced != NO_LENGTH:
            self.send_header("Content-Length", str(server.announced or len(body) - start))
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        if start:
            end = len(body)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        if server.version:
            self.send_header("ETag", server.version)
        self.end_headers()
        broken = server.breaks_after.pop(0) if server.breaks_after else len(body)
        if server.drips == "body":
            self.send_slowly(body[start:])
        elif server.chunked:
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            self.wfile.write(body[start : start + broken])

    def send_slowly(self, content: bytes) -> None:
        with suppress(OSError):  # the client went away
            for value in content:
                self.wfile.write(bytes([value]))
                time.sleep(0.01)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch_now(server: Server, folder: Path, checksum: str | None = SHA256) -> Path:
    return fetch(server.url, folder, checksum=checksum, wait_seconds=0.0)


def failure(server: Server, folder: Path, checksum: str | None = SHA256) -> str:
    with pytest.raises(UserError) as caught:
        fetch_now(server, folder, checksum)
    return str(caught.value)


def test_a_second_fetch_sends_no_request(server: Server, tmp_path: Path) -> None:
    path = fetch_now(server, tmp_path)
    assert path.read_bytes() == BODY
    assert path.name.endswith("-p.tar")
    assert fetch_now(server, tmp_path) == path
    assert server.requested == [None]


@pytest.mark.parametrize("announced", [None, NO_LENGTH])
@pytest.mark.parametrize("chunked", [False, True])
def test_without_a_checksum_data_of_the_announced_length_are_taken(
    server: Server, tmp_path: Path, announced: int | None, chunked: bool
) -> None:
    server.announced, server.chunked = announced, chunked
    assert fetch_now(server, tmp_path, None).read_bytes() == BODY


QUICK = Pace(least_bytes=1000, seconds=0.2)


@pytest.mark.parametrize(
    ("drips", "line"),
    [
        (
            "header",
            r"not fetched \(too slow: no whole header in 0\.2 s; allowed: at least 1,000 bytes\); "
            r"0 bytes are here; run it again later",
        ),
        (
            "body",
            r"not fetched \(too slow: \d+ bytes in 0\.2 s; allowed: at least 1,000 bytes\); "
            r"\d+ bytes are here; run it again to continue from there",
        ),
    ],
)
def test_a_server_that_sends_byte_by_byte_is_given_up(
    server: Server, tmp_path: Path, drips: str, line: str
) -> None:
    server.drips = drips
    with pytest.raises(UserError) as caught:
        fetch(server.url, tmp_path, checksum=None, wait_seconds=0.0, pace=QUICK)
    assert re.fullmatch(rf"{server.url}: {line}", str(caught.value))
    assert len(server.requested) == ATTEMPTS
    server.drips = ""
    assert fetch_now(server, tmp_path).read_bytes() == BODY
    have = re.fullmatch(r"bytes=(\d+)-", str(server.requested[-1]))
    assert (have is not None and int(have[1]) > ATTEMPTS) == (drips == "body")


# A chunked body may be longer than the header says, and one of HTTP/1.0 end anywhere.
@pytest.mark.parametrize(
    ("announced", "found"), [(299_999, "more than 299,999"), (300_001, "300,000")]
)
@pytest.mark.parametrize("checksum", [None, SHA256])
def test_another_length_than_announced_is_refused_and_not_kept(
    server: Server, tmp_path: Path, announced: int, found: str, checksum: str | None
) -> None:
    server.announced, server.chunked = announced, True
    assert failure(server, tmp_path, checksum) == (
        f"{server.url}: {found} bytes came; allowed: the {announced:,} that the server announced; "
        "run it again, or correct the URL"
    )
    assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (
            b"\xef\xbb\xbf\n<!DOCTYPE html><title>Sign in</title><script>if (1 > 0) a()</script>"
            b"<p>Please <b>log in</b>\x1b[31m first, R\xe9my" + bytes(100),
            "a page that begins 'Sign in Please log in [31m first, R�my'",
        ),
        (b"<HTML><!-- nothing --></HTML>", "a page that begins '<HTML><!-- nothing --></HTML>'"),
        (
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
            "a text that begins 'AccessDenied'",
        ),
        (b'{"error": "sign in"}', """a text that begins '{"error": "sign in"}'"""),
        ("é".encode() * 5000, f"a text that begins '{'é' * 80}'"),
        (b"version https://git-lfs", "a text that begins 'version https://git-lfs'"),
        (b"", "an empty file"),
    ],
)
@pytest.mark.parametrize("checksum", [None, SHA256])
def test_a_page_or_a_text_in_place_of_data_is_refused_and_not_kept(
    server: Server, tmp_path: Path, body: bytes, found: str, checksum: str | None
) -> None:
    server.files["/p.tar"] = body
    assert failure(server, tmp_path, checksum) == (
        f"{server.url}: {found} came; allowed: an archive or a file of data; it needs a login or "
        "another URL: correct the URL, or fetch the file yourself and set data.source"
    )
    assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}


def test_a_text_with_the_right_checksum_is_the_file(server: Server, tmp_path: Path) -> None:
    server.files["/p.tar"] = b"<html> of lists"
    checksum = f"sha256:{hashlib.sha256(server.files['/p.tar']).hexdigest()}"
    assert fetch_now(server, tmp_path, checksum).read_bytes() == server.files["/p.tar"]


def test_a_text_may_be_one_but_no_page(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("p.tar", "labels.csv")
    server.files["/labels.csv"] = b"<html>"
    with pytest.raises(UserError, match="a page that begins '<html>' came"):
        fetch(url, tmp_path, checksum=None)
    server.files["/labels.csv"] = b"image,label\n"
    assert fetch(url, tmp_path, checksum=None).read_bytes() == b"image,label\n"


@pytest.mark.parametrize(("announced", "needs"), [(None, "300,000"), (NO_LENGTH, r"[\d,]+")])
def test_more_than_the_disk_takes_is_refused_as_soon_as_it_is_known(
    server: Server, tmp_path: Path, announced: int | None, needs: str
) -> None:
    server.announced, server.chunked = announced, announced == NO_LENGTH
    with pytest.raises(UserError) as caught:
        fetch(server.url, tmp_path, checksum=None, free_bytes=50_000)
    assert re.fullmatch(
        f"{server.url}: needs {needs} bytes or more; allowed: the 50,000 that are free for "
        f"{tmp_path}; free some space",
        str(caught.value),
    )
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 50_000


def test_a_broken_connection_is_resumed_by_range(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [BLOCK_BYTES + 9, BLOCK_BYTES + 9]
    assert fetch_now(server, tmp_path).read_bytes() == BODY
    assert server.requested == [None, "bytes=65545-", "bytes=131090-"]


def test_an_interrupted_run_is_resumed_by_the_next(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [100_000, 0, 0, 0]
    text = failure(server, tmp_path)
    assert text.startswith(f"{server.url}: not fetched (")
    assert text.endswith("); 100,000 bytes are here; run it again to continue from there")
    server.requested.clear()
    assert fetch_now(server, tmp_path).read_bytes() == BODY
    assert server.requested == ["bytes=100000-"]
    left = {path.suffix for path in tmp_path.iterdir()}
    assert left <= {".tar", ".lock"}


def test_a_whole_part_needs_no_more_bytes(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [0] * ATTEMPTS
    failure(server, tmp_path)
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(BODY)
    assert fetch_now(server, tmp_path).read_bytes() == BODY


def test_another_version_at_the_server_starts_anew(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [100_000, 0, 0, 0]
    failure(server, tmp_path)
    server.body, server.version = BODY[::-1], '"v2"'
    assert fetch_now(server, tmp_path, None).read_bytes() == BODY[::-1]


@pytest.mark.parametrize(("ranges", "version"), [(False, '"v1"'), (True, None), (True, 'W/"v1"')])
def test_a_server_that_cannot_resume_starts_anew(
    server: Server, tmp_path: Path, ranges: bool, version: str | None
) -> None:
    server.ranges, server.version, server.breaks_after = ranges, version, [100_000]
    assert fetch_now(server, tmp_path).read_bytes() == BODY
    # A weak ETag may be of several bodies, so the download begins again.
    assert server.requested == [None, "bytes=100000-" if version == '"v1"' else None]


@pytest.mark.parametrize("checksum", [SHA256, MD5], ids=["sha256", "md5"])
def test_another_checksum_is_refused_and_not_kept(
    server: Server, tmp_path: Path, checksum: str
) -> None:
    kind, found = checksum.split(":")
    wanted = "0" * len(found)
    assert failure(server, tmp_path, f"{kind}:{wanted}") == (
        f"{server.url}: the {kind} is {found}; allowed: {wanted}; correct the URL or the checksum"
    )
    assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}


@pytest.mark.parametrize("checksum", [MD5, MD5.upper(), SHA256.upper()])
def test_a_checksum_of_either_kind_in_either_case_is_enough(
    server: Server, tmp_path: Path, checksum: str
) -> None:
    path = fetch_now(server, tmp_path, checksum)
    assert fetch_now(server, tmp_path, checksum) == path
    assert server.requested == [None]


def test_what_was_fetched_under_another_checksum_is_fetched_again(
    server: Server, tmp_path: Path
) -> None:
    fetch_now(server, tmp_path, MD5)
    server.body, server.version = BODY[::-1], '"v2"'
    md5 = f"md5:{hashlib.md5(BODY[::-1], usedforsecurity=False).hexdigest()}"
    assert fetch_now(server, tmp_path, md5).read_bytes() == BODY[::-1]


def test_all_archives_of_a_dataset_are_unpacked_into_one_folder(
    server: Server, tmp_path: Path
) -> None:
    archives = {}
    for name in ("train", "val"):
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr(f"{name}2017/1.jpg", name)
        server.files[f"/{path.name}"] = path.read_bytes()
        url = f"http://127.0.0.1:{server.server_port}/{path.name}"
        archives[url] = f"md5:{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"
    downloads = tmp_path / "downloads"
    for _ in range(2):
        with open_source(tmp_path / "unused", archives, downloads=downloads) as folder:
            assert (folder / "train2017/1.jpg").read_text() == "train"
            assert (folder / "val2017/1.jpg").read_text() == "val"
            assert folder.parent == downloads
    assert len(server.requested) == 2
    left = {path.name.split("-")[-1] for path in downloads.iterdir() if path.suffix != ".lock"}
    assert left == {"train.zip", "val.zip"}


def test_a_refused_request_is_not_sent_again(server: Server, tmp_path: Path) -> None:
    server.status = 404
    assert failure(server, tmp_path) == (
        f"{server.url}: not fetched (HTTP 404 Not Found); 0 bytes are here"
    )
    assert len(server.requested) == 1


def test_a_request_is_sent_again_while_the_server_is_down(server: Server, tmp_path: Path) -> None:
    server.status = 503
    assert failure(server, tmp_path) == (
        f"{server.url}: not fetched (HTTP 503 Service Unavailable); 0 bytes are here; "
        "run it again later"
    )
    assert len(server.requested) == ATTEMPTS


def test_what_is_no_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^p\.tar: not fetched \(Invalid URL 'p\.tar'"):
        fetch("p.tar", tmp_path, checksum=None, wait_seconds=0.0)


def test_a_terminal_sees_how_far_it_is(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fetch_now(server, tmp_path / "quiet")
    assert "100%" not in capsys.readouterr().err
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    fetch_now(server, tmp_path / "shown")
    shown = capsys.readouterr().err
    assert "p.tar" in shown
    assert "100%" in shown

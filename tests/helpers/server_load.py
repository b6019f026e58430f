"""The loads that a server must bear, and what they do to it: tests and benchmarks put them on a
server in a process of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from threading import Barrier

import httpx
import numpy as np
from PIL import Image

from tests.helpers.encoded_images import encode, exif_of, photograph
from tests.helpers.memory import read_memory
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment
from tests.helpers.serving import open_client

SLOW_SENDERS = 48
HALF_HEADS = 300
PEOPLE = 20
HALF = b"GET /api/choices HTTP/1.1\r\nHo"
SLOW = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\na"

Request = Callable[[httpx.Client], httpx.Response]


@dataclass(frozen=True)
class Server:
    """A running server: its address, its process, and its bytes of memory at the start."""

    address: str
    pid: int
    at_start: int

    def peak_above_start(self, work: Callable[[], object]) -> int:
        """Return the bytes that it took at most above its start, while `work` went on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # forget the peak so far
        work()
        return read_memory(self.pid, "VmHWM") - self.at_start


@contextmanager
def running_server(project: Path, *options: str) -> Iterator[Server]:
    """Yield a server of a project, which has searched once."""
    command = [sys.executable, "-m", "app.cli", "serve", "--no-open", "--port", "0", *options]
    variables = environment() | {"PYTHONPATH": str(ROOT)}
    with (
        (project / "serve.log").open("w+") as log,
        subprocess.Popen(command, cwd=project, env=variables, stderr=log) as process,
    ):
        try:
            address = _wait_for_address(process, project / "serve.log")
            with open_client(address) as client:
                for _ in range(4):
                    client.post("/api/search", content=encode("JPEG")).raise_for_status()
            yield Server(address, process.pid, read_memory(process.pid, "VmRSS"))
        finally:
            process.terminate()


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        for word in log.read_text().split():
            if word.startswith("http://"):
                return word
        time.sleep(0.1)
    raise RuntimeError(log.read_text())


@contextmanager
def connections(address: str, count: int, begun: bytes) -> Iterator[list[socket.socket]]:
    """Yield connections that have sent the beginning of a request, and send no more."""
    host, _, port = address.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            for _ in range(count)
        ]
        for each in opened:
            each.sendall(begun)
        yield opened


def search_in_turn(
    address: str, requests: Sequence[Request], *, people: int, each: int
) -> list[float]:
    """Return the seconds of each search of `people` at once, who search one after the other.

    each: the searches of a person, who begin at different ones of `requests`.
    """
    together = Barrier(people)

    def visit(number: int) -> list[float]:
        seconds = []
        with open_client(address) as client:
            client.get("/api/choices").raise_for_status()
            together.wait(60)
            for request in islice(cycle(requests), number, number + each):
                begun = time.perf_counter()
                request(client).raise_for_status()
                seconds.append(time.perf_counter() - begun)
        return seconds

    with ThreadPoolExecutor(people) as pool:
        return [second for seconds in pool.map(visit, range(people)) for second in seconds]


def usual_requests(address: str, *, pixels: int = 12_000_000) -> list[Request]:
    """Return searches by photos of a phone, of the web, and by images of the catalog, in turn."""
    with open_client(address) as client:
        ids = [client.get("/api/random-query").json()["image_id"] for _ in range(10)]
    photos = [encode("JPEG", of_pixels(count), quality=85) for count in (pixels, 800_000)]
    return [
        request
        for image_id in ids
        for request in (
            by_photo(photos[0]),
            by_image(image_id),
            by_photo(photos[1]),
            by_image(image_id),
        )
    ]


def by_photo(photo: bytes, name: str = "photo") -> Request:
    """Return a search as the page sends it."""
    path = f"/api/search?preview=true&name={name}"
    return lambda client: client.post(path, content=photo)


def by_image(image_id: str) -> Request:
    """Return a search as the page sends it."""
    path = f"/api/search/{image_id.replace('/', '%2F').replace(' ', '%20')}"
    return lambda client: client.get(path)


def of_pixels(count: int) -> Image.Image:
    """Return a smooth image of about so many pixels, 4:3."""
    height = int((count * 3 / 4) ** 0.5)
    return photograph().resize((count // height, height), Image.Resampling.BICUBIC)


def worst_uploads() -> Iterator[tuple[str, bytes]]:
    """Yield a name and a photo of each format that takes as much memory as any that is allowed, and
    one of 100 megapixels in 290 kB."""
    turned = {"exif": exif_of(6)}
    clear = of_pixels(24_400_000)
    clear.putalpha(clear.getchannel(0))
    yield "PNG", encode("PNG", clear, compress_level=1, **turned)
    small = clear.resize((4_000, 3_000))
    yield "WebP", encode("WEBP", small, method=0, **turned)
    avif = small.resize((3_700, 2_850))
    yield "AVIF", encode("AVIF", avif, speed=10, subsampling="4:4:4", **turned)
    yield "HEIC", encode("HEIF", of_pixels(26_800_000), enc_params={"preset": "ultrafast"})
    gray = np.asarray(of_pixels(15_200_000).convert("L")).astype(np.float32) / 255
    tags = {278: gray.shape[0]}
    yield "TIFF", encode("TIFF", Image.fromarray(gray), compression="tiff_lzw", tiffinfo=tags)
    inks = of_pixels(24_300_000).convert("CMYK")
    yield "progressive JPEG", encode("JPEG", inks, progressive=True, subsampling=0, **turned)
    yield "JPEG of 108 megapixels", encode("JPEG", of_pixels(108_000_000), **turned)
    yield "GIF", encode("GIF", of_pixels(24_300_000).quantize(64), transparency=3)
    yield "BMP", encode("BMP", of_pixels(10_900_000))
    yield "PNG of 100 megapixels", encode("PNG", Image.new("RGB", (10_000, 10_000)))

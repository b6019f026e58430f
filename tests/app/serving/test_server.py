"""The search page's server over real HTTP: responses, limits, and each error."""

import base64
import errno
import io
import json
import re
import shutil
import socket
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier, Event, Lock
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from app.searching.catalog import Catalog
from app.searching.photo_memory import BYTES_PER_PIXEL, PHOTO_MEMORY, max_pixels
from app.searching.untrusted_images import MAX_BYTES, decode_photo
from app.serving.addresses import ANY_HOST
from app.serving.api_schema import PhotoSearchOptions
from app.serving.head_limit import HeadLimitProtocol
from app.serving.searcher import Searcher
from app.serving.server import PAGE, build_app
from pipeline.data.tables import SPLITS, read_table
from pipeline.errors import UserError, name_first
from tests.helpers.clone import change_params
from tests.helpers.searchable import COLORS, SHAPES, draw, index_again, write_threshold
from tests.helpers.serving import TIMEOUT, client_of, open_client, serving

MODELS = ("baseline", "finetuned")


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[httpx.Client]:
    with open_client(address) as opened:
        yield opened


@pytest.fixture(scope="module")
def query(searcher: Searcher) -> str:
    return searcher.catalog.queries[0]


def found(response: dict[str, Any], model: str) -> list[tuple[str, float]]:
    (neighbors,) = (each["neighbors"] for each in response["models"] if each["model"] == model)
    return [(each["image_id"], each["score"]) for each in neighbors]


def expected(searcher: Searcher, model: str, vector: Any, k: int, **options: Any) -> Any:
    neighbors = searcher.model_indexes[model].search(vector, k, **options)
    return [(each.image_id, pytest.approx(each.score, abs=1e-5)) for each in neighbors]


def path_of(image_id: str) -> str:
    return f"/api/search/{image_id.replace('/', '%2F').replace(' ', '%20')}"


def test_an_image_of_the_catalog_gets_the_neighbors_of_each_model_without_itself(
    client: httpx.Client, searcher: Searcher, query: str
) -> None:
    response = client.get(path_of(query), params={"k": 7}).raise_for_status().json()
    assert [each["model"] for each in response["models"]] == list(MODELS)
    for model in MODELS:
        vector = searcher.model_indexes[model].read_vector(query)
        assert found(response, model) == expected(searcher, model, vector, 7, exclude=query)
        assert query not in dict(found(response, model))
    assert response["query"]["image_id"] == query
    assert response["query"]["classes"] == searcher.catalog.classes_of(query)


def test_a_neighbor_is_relevant_where_it_shares_a_class(
    client: httpx.Client, searcher: Searcher, query: str
) -> None:
    response = client.get(path_of(query), params={"k": 39}).json()
    for model in response["models"]:
        marks = [each["relevant"] for each in model["neighbors"]]
        same = [
            each["classes"] == searcher.catalog.classes_of(query) and each["group"] in SHAPES
            for each in model["neighbors"]
        ]
        assert [each["trained_on"] for each in model["neighbors"]] == [
            model["model"] == "finetuned" and each["image_id"] in searcher.catalog.train_ids
            for each in model["neighbors"]
        ]
        assert model["match"] is None  # no metrics, so no threshold
        assert marks == same
        assert (
            model["relevant_count"] == sum(same) == 3
        )  # four images of the class, without the query
        assert [each["rank"] for each in model["neighbors"]] == list(range(1, 40))


def test_a_match_of_a_photo_is_told_whatever_the_filters(
    searchable: Path, query: str, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(searchable, project)
    photo = draw("red", "disc", 99)
    options = PhotoSearchOptions(k=2)
    nearest = Searcher(project, ["baseline"]).search_photo(photo, options).models[0]
    first, second = (each.score for each in nearest.neighbors)
    write_threshold(project, "baseline", (first + second) / 2)
    write_threshold(project, "finetuned", 1.1)
    other = next(
        name for name in Catalog(project).classes if name != nearest.neighbors[0].classes[0]
    )
    loaded = Searcher(project, MODELS)
    with client_of(build_app(lambda: loaded)) as client:
        for filters in ({}, {"class": other}, {"class": "red disc", "group": "square"}):
            params = {"k": 40, **filters}
            response = client.post("/api/search", content=photo, params=params).json()
            assert [each["match"] for each in response["models"]] == [True, False], filters
        # An image of the catalog is in it, whatever its neighbors are like.
        response = client.get(path_of(query)).json()
        assert [each["match"] for each in response["models"]] == [None, None]


@pytest.mark.parametrize("crop", ["center", "none"])
def test_a_photo_is_embedded_and_relevance_is_not_known(
    client: httpx.Client, searcher: Searcher, crop: str
) -> None:
    photo = draw("red", "disc", 99)
    response = client.post("/api/search", content=photo, params={"k": 5, "crop": crop}).json()
    for model in MODELS:
        vector = searcher.model_indexes[model].embed(decode_photo(photo, name="photo"), crop=crop)
        assert found(response, model) == expected(searcher, model, vector, 5)
    assert response["query"] == {"image_id": None, "classes": [], "group": None, "preview": None}
    marks = [each["relevant"] for model in response["models"] for each in model["neighbors"]]
    assert set(marks) == {None} == {model["relevant_count"] for model in response["models"]}


def test_without_crop_the_whole_image_is_embedded(
    client: httpx.Client, searcher: Searcher, query: str
) -> None:
    response = client.get(path_of(query), params={"k": 5, "crop": "none"}).json()
    image = searcher.catalog.images.decode(query)
    for model in MODELS:
        vector = searcher.model_indexes[model].embed(image, crop="none")
        assert found(response, model) == expected(searcher, model, vector, 5, exclude=query)


def test_a_preview_of_a_small_photo_has_its_size(client: httpx.Client) -> None:
    photo = draw("red", "disc", 99)
    preview = client.post("/api/search?preview=true", content=photo).json()["query"]["preview"]
    encoded = base64.b64decode(preview.partition(",")[2])
    assert Image.open(io.BytesIO(encoded)).size == Image.open(io.BytesIO(photo)).size


def test_a_large_jpeg_is_embedded_as_those_of_the_index_are(
    client: httpx.Client, searcher: Searcher
) -> None:
    photo = io.BytesIO()
    Image.fromarray(load_sample_images().images[0]).save(photo, "JPEG")
    response = client.post("/api/search?preview=true&k=1", content=photo.getvalue()).json()
    for found, (model, index) in zip(
        response["models"], searcher.model_indexes.items(), strict=True
    ):
        image = decode_photo(photo.getvalue(), name="a", side=index.least_side)
        assert max(image.size) < 640
        [expected] = index.search(index.embed(image), 1)
        assert found["neighbors"][0]["score"] == pytest.approx(expected.score, abs=1e-6), model
    _, _, encoded = response["query"]["preview"].partition(",")
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == (640, 427)


def test_a_preview_is_the_decoded_photo(client: httpx.Client) -> None:
    sideways = Image.new("RGB", (1600, 400), "teal")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    photo = io.BytesIO()
    sideways.save(photo, "JPEG", exif=exif)
    response = client.post("/api/search?preview=true", content=photo.getvalue()).json()
    with client.stream("GET", "/") as page:
        assert "img-src 'self' data:" in page.headers["content-security-policy"]
    start, _, encoded = response["query"]["preview"].partition(",")
    assert start == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == (160, 640)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"class": "{own}"}, lambda each, own: each["classes"] == [own]),
        ({"group": "disc"}, lambda each, own: each["group"] == "disc"),  # noqa: ARG005
    ],
)
def test_filters_return_the_nearest_images_that_they_allow(
    client: httpx.Client, searcher: Searcher, query: str, options: dict[str, str], kept: Any
) -> None:
    (own,) = searcher.catalog.classes_of(query)
    wanted = {name: value.format(own=own) for name, value in options.items()}
    everything = client.get(path_of(query), params={"k": 100}).json()
    response = client.get(path_of(query), params={"k": 3, **wanted}).json()
    for whole, some in zip(everything["models"], response["models"], strict=True):
        nearest = [each["image_id"] for each in whole["neighbors"] if kept(each, own)][:3]
        assert [each["image_id"] for each in some["neighbors"]] == nearest
        assert len(nearest) == 3


def test_the_gallery_alone_can_be_searched(
    client: httpx.Client, searchable: Path, query: str
) -> None:
    splits = read_table(searchable / "data/splits.parquet", SPLITS).to_pylist()
    gallery = {row["image_id"] for row in splits if row["is_gallery"]} - {query}
    response = client.get(path_of(query), params={"k": 40, "gallery": "true"}).json()
    for model in MODELS:
        assert {image_id for image_id, _ in found(response, model)} == gallery
    assert 0 < len(gallery) < 39


def test_filters_that_exclude_each_other_return_nothing(client: httpx.Client, query: str) -> None:
    (disc,) = [n for n in client.get("/api/choices").json()["classes"] if "disc" in n][:1]
    response = client.get(path_of(query), params={"class": disc, "group": "square"}).json()
    assert [each["neighbors"] for each in response["models"]] == [[], []]


def test_a_random_query_is_a_query_of_the_test_split(
    client: httpx.Client, searcher: Searcher
) -> None:
    sampled = {client.get("/api/random-query").json()["image_id"] for _ in range(40)}
    assert sampled <= set(searcher.catalog.queries)
    assert len(sampled) > 5


def test_choices_are_those_of_all_images(client: httpx.Client, searcher: Searcher) -> None:
    choices = client.get("/api/choices").json()
    ids = searcher.model_indexes["baseline"].ids
    assert choices == {
        "models": list(MODELS),
        "text": [],
        "parts": True,
        "best": {"model": "finetuned", "because": "it is a test"},
        "trained": ["finetuned"],
        "overrides": False,
        "classes": sorted({name for each in ids for name in searcher.catalog.classes_of(each)}),
        "groups": ["disc", "square"],
        "image_count": len(ids),
        "query_count": len(searcher.catalog.queries),
        "max_bytes": 32 * 2**20,
        "version": searcher.choices.version,
        "max_pixels": {kind: max_pixels(kind) for kind in BYTES_PER_PIXEL},
    }
    # Those for training too.
    assert len(choices["classes"]) == len(COLORS) * len(SHAPES)


def test_an_image_is_served_unchanged_and_only_once(
    client: httpx.Client, searcher: Searcher, query: str
) -> None:
    path = path_of(query).replace("search", "images")
    served = client.get(path)
    assert served.content == searcher.catalog.images.read(query)
    assert served.headers["content-type"] == "image/jpeg"
    again = client.get(path, headers={"if-none-match": served.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, params={"max_side": 64}).headers["etag"] != served.headers["etag"]


def png_of(width: int, height: int) -> bytes:
    """Return a PNG whose header gives this size, with hardly any pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


REFUSED = [
    ("", b"", "photo: empty; allowed: an image (JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC)"),
    (
        "?name=a.txt",
        b"some text",
        "a.txt: not an image; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC",
    ),
    (
        "",
        png_of(11_000, 10_000),
        "photo: too many pixels (11000 x 10000); allowed in a PNG: at most 24.5 million; make the "
        "image smaller",
    ),
    (
        "",
        png_of(100_000, 100_000),
        "photo: too many pixels (more than 200 million); allowed in a JPEG: at most 200 million, "
        "in a progressive JPEG: at most ",
    ),
    ("", draw("red", "disc", 1)[:500], "photo: damaged ("),
]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as `serve` does
@pytest.mark.parametrize(("options", "photo", "line"), REFUSED)
def test_a_photo_that_cannot_be_decoded_is_an_error_of_one_line(
    client: httpx.Client,
    caplog: pytest.LogCaptureFixture,
    options: str,
    photo: bytes,
    line: str,
) -> None:
    response = client.post(f"/api/search{options}", content=photo)
    error = response.json()["error"]
    assert (response.status_code, error[: len(line)]) == (400, line)
    assert "\n" not in error
    assert f"POST 400: {error}" in caplog.messages


def test_the_bytes_of_an_upload_are_counted_with_and_without_a_length_header(
    client: httpx.Client,
) -> None:
    line = "big.jpg: found more than 32 MiB; allowed: at most 32 MiB; make the image smaller"
    one = bytes(2**20)
    for body in (bytes(MAX_BYTES + 1), (one for _ in range(34))):  # the second has no length
        response = client.post("/api/search?name=big.jpg", content=body)
        assert (response.status_code, response.json()) == (413, {"error": line})
    most = client.post("/api/search", content=(one for _ in range(32)))
    assert most.json() == {
        "error": "photo: not an image; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC"
    }


def test_large_photos_wait_for_each_other_and_small_ones_do_not(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two is told to take all the memory, and the small one next to none."""
    large, small = draw("red", "disc", 1), draw("red", "disc", 2)
    lock, now, most = Lock(), 0, 0
    search = searcher.search_photo

    def search_slowly(photo: bytes, options: PhotoSearchOptions) -> Any:
        nonlocal now, most
        with lock:
            now += photo == large
            most = max(most, now)
        response = search(photo, options)
        with lock:
            now -= photo == large
        return response

    monkeypatch.setattr(
        searcher, "measure_photo", lambda photo, _: PHOTO_MEMORY if photo == large else 0
    )
    monkeypatch.setattr(searcher, "search_photo", search_slowly)
    monkeypatch.setattr("app.serving.server._count_threads", lambda: 4)
    with client_of(build_app(lambda: searcher)) as client, ThreadPoolExecutor(9) as people:
        photos = [large, small, large] * 3
        answers = people.map(lambda photo: client.post("/api/search", content=photo), photos)
        assert {each.status_code for each in answers} == {200}
    assert most == 1


def test_all_searches_wait_in_one_line(
    searcher: Searcher, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else photos would wait for each other alone, and much longer than others."""
    begun, end = Event(), Event()
    search = searcher.search_photo

    def search_when_told(photo: bytes, options: PhotoSearchOptions) -> Any:
        begun.set()
        assert end.wait(TIMEOUT)
        return search(photo, options)

    monkeypatch.setattr(searcher, "measure_photo", lambda *_: PHOTO_MEMORY)
    monkeypatch.setattr(searcher, "search_photo", search_when_told)
    with client_of(build_app(lambda: searcher)) as client, ThreadPoolExecutor(2) as people:
        first = people.submit(client.post, "/api/search", content=draw("red", "disc", 1))
        assert begun.wait(TIMEOUT)
        second = people.submit(client.get, path_of(query))
        try:
            with pytest.raises(TimeoutError):
                second.result(0.3)
        finally:
            end.set()
        assert (first.result().status_code, second.result().status_code) == (200, 200)


def test_a_photo_that_finds_no_room_on_disk_is_one_line(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("app.serving.server.open_spool", Full)
    response = client.post("/api/search?name=a.jpg", content=b"text")
    assert (response.status_code, response.json()) == (
        507,
        {
            "error": "a.jpg: cannot be kept while it is searched (No space left on device); set "
            "TMPDIR"
        },
    )


def test_an_upload_that_takes_too_long_is_refused(searcher: Searcher) -> None:
    app = build_app(lambda: searcher, upload_seconds=0.2)
    head = "POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nabc"
    with serving(app) as address:
        server = ("127.0.0.1", int(address.rpartition(":")[2]))
        with socket.create_connection(server, timeout=TIMEOUT) as sent:
            sent.sendall(head.encode())
            response = b""
            while not response.endswith(b"}"):
                response += sent.recv(4096)
    status, _, rest = response.decode().partition("\r\n")
    assert status == "HTTP/1.1 408 Request Timeout"
    assert re.fullmatch(
        r"photo: found 3 bytes after [\d.]+ seconds; allowed: all within 0.2 seconds, and 32 KiB a "
        "second",
        json.loads(rest.partition("\r\n\r\n")[2])["error"],
    )


def test_slow_senders_keep_no_place_of_others(
    searcher: Searcher, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than may search at a time send a byte; searches go on, and they are sent away."""
    monkeypatch.setattr("app.serving.uploads.GRACE", 1.0)
    head = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\na"
    with serving(build_app(lambda: searcher, max_searches=2)) as address, ExitStack() as senders:
        server = ("127.0.0.1", int(address.rpartition(":")[2]))
        slow = [
            senders.enter_context(socket.create_connection(server, timeout=TIMEOUT))
            for _ in range(8)
        ]
        for each in slow:
            each.sendall(head)
        with open_client(address) as client:
            assert client.get(path_of(query)).status_code == 200
        assert {each.recv(12) for each in slow} == {b"HTTP/1.1 408"}


def test_a_head_that_is_never_whole_is_not_waited_for(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.serving.head_limit.HEAD_SECONDS", 0.5)
    whole = b"GET /api/random-query HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(build_app(lambda: searcher), http=HeadLimitProtocol) as address:
        server = ("127.0.0.1", int(address.rpartition(":")[2]))
        for before in (b"", whole):  # on a new connection, and on one that goes on
            with socket.create_connection(server, timeout=TIMEOUT) as half:
                half.sendall(before)
                received = b"" if not before else half.recv(4096)
                assert received.startswith(b"HTTP/1.1 200" if before else b"")
                half.sendall(whole[:20])
                while received := half.recv(4096):
                    continue
                assert received == b""


def test_an_upload_that_the_client_cancels_is_not_logged(
    searcher: Searcher, caplog: pytest.LogCaptureFixture
) -> None:
    head = "POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nabc"
    with serving(build_app(lambda: searcher)) as address:
        server = ("127.0.0.1", int(address.rpartition(":")[2]))
        with socket.create_connection(server, timeout=TIMEOUT) as sent:
            sent.sendall(head.encode())
        with open_client(address) as client:
            assert client.get("/api/random-query").status_code == 200
    assert [each for each in caplog.records if each.name.startswith("app")] == []


def wrong_options(query: str) -> list[tuple[str, int, str]]:
    image = path_of(query)
    classes = sorted(f"{color} {shape}" for color in COLORS for shape in SHAPES)
    return [
        (
            "/api/search/ball.jpg",
            404,
            "image_id: found 'ball.jpg'; allowed: an image_id of the catalog",
        ),
        (
            "/api/images/../../params.yaml",
            404,
            "/params.yaml: no such page; see /docs",
        ),
        (
            "/api/images/..%2F..%2Fparams.yaml",
            404,
            "image_id: found '../../params.yaml'; allowed: an image_id of the catalog",
        ),
        ("/page/..%2Fserver.py", 404, "/page/../server.py: no such page; see /docs"),
        ("/page/server.py", 404, "/page/server.py: no such page; see /docs"),
        ("/nowhere", 404, "/nowhere: no such page; see /docs"),
        (
            f"{image}?class=gold+ring",
            422,
            f"class: found 'gold ring'; allowed: {name_first(classes)}",
        ),
        (
            f"{image}?group=discs",
            422,
            "group: found 'discs'; allowed: 'disc', 'square'; did you mean 'disc'?",
        ),
        (
            f"{image}?class={256 * 'x'}",
            422,
            f"class: found '{256 * 'x'}'; string should have at most 255 characters",
        ),
        (f"{image}?k=0", 422, "k: found '0'; input should be greater than or equal to 1"),
        (f"{image}?k=101", 422, "k: found '101'; input should be less than or equal to 100"),
        (
            f"{image}?k=many",
            422,
            "k: found 'many'; input should be a valid integer, unable to parse string as an "
            "integer",
        ),
        (f"{image}?crop=left", 422, "crop: found 'left'; input should be 'center' or 'none'"),
        (f"{image}?klass=a", 422, "klass: found 'a'; extra inputs are not permitted"),
        (
            "/api/search",
            422,
            "text: found none; allowed: words, or image_ids that are like it",
        ),
        (
            f"{image}?unlike=ball.jpg",
            404,
            "image_id: found 'ball.jpg'; allowed: an image_id of the catalog",
        ),
        (
            "/api/search?text=red+disc",
            422,
            "text: found words, and the models that are served understand images alone; allowed: "
            "with a backbone.name of open_clip",
        ),
    ]


def test_wrong_options_are_told_in_one_line(client: httpx.Client, query: str) -> None:
    for path, status, line in wrong_options(query):
        response = client.get(path)
        assert (response.status_code, response.json()) == (status, {"error": line}), path
    refused = client.put("/api/search")
    line = "/api/search: found PUT; allowed: see /docs"
    assert (refused.status_code, refused.json()) == (405, {"error": line})


def test_another_host_name_for_this_machine_is_refused(
    client: httpx.Client, searcher: Searcher
) -> None:
    evil = client.get("/api/random-query", headers={"host": "evil.example:8000"})
    assert (evil.status_code, evil.text) == (400, "Invalid host header")
    assert evil.headers["cross-origin-resource-policy"] == "same-origin"
    for host in ("localhost.evil.example", "www.localhost", "127.0.0.1.evil.example", "[::2]", ""):
        assert client.get("/api/random-query", headers={"host": host}).status_code == 400, host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "[::1]"):
        assert client.get("/api/random-query", headers={"host": host}).status_code == 200, host
    with client_of(build_app(lambda: searcher, hosts=ANY_HOST)) as open_to_all:
        assert open_to_all.get("/api/random-query", headers={"host": "a.b"}).status_code == 200


def test_pages_of_other_sites_cannot_search(client: httpx.Client) -> None:
    evil = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    for headers in (evil, {"origin": evil["origin"]}):
        response = client.post("/api/search", content="text", headers=headers)
        line = "origin: found 'https://evil.example'; allowed: this server's own page, or a program"
        assert (response.status_code, response.json()) == (403, {"error": line})
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
    response = client.get("/api/random-query", headers={"sec-fetch-site": "cross-site"})
    line = "origin: found 'another site'; allowed: this server's own page, or a program"
    assert (response.status_code, response.json()) == (403, {"error": line})
    own = {"origin": str(client.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    photo = draw("red", "disc", 7)
    assert client.post("/api/search", content=photo, headers=own).status_code == 200


def test_every_response_has_the_headers_that_keep_other_sites_out(
    client: httpx.Client, query: str
) -> None:
    for path in ("/", "/api/choices", "/nowhere", path_of(query).replace("search", "images")):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; " in policy, path
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"


def test_twenty_people_at_a_time_get_their_own_neighbors(
    address: str, client: httpx.Client
) -> None:
    photos = [draw(COLORS[n % 5], SHAPES[n % 2], 200 + n) for n in range(20)]
    alone = [client.post("/api/search?k=20", content=photo).json() for photo in photos]
    together = Barrier(len(photos))

    def visit(number: int) -> tuple[dict[str, Any], list[int]]:
        with open_client(address) as person:
            together.wait(TIMEOUT)
            response = person.post("/api/search?k=20", content=photos[number]).json()
            shown = [each["image_id"] for each in response["models"][0]["neighbors"][:6]]
            tiles = [person.get(path_of(each).replace("search", "images")) for each in shown]
            return response, [tile.status_code for tile in tiles]

    with ThreadPoolExecutor(len(photos)) as people:
        visits = list(people.map(visit, range(len(photos))))
    for (response, tiles), alone_response in zip(visits, alone, strict=True):
        for model in MODELS:
            assert found(response, model) == found(alone_response, model)
        assert tiles == [200] * 6
    # The photos differ, so a response to another person would show.
    assert len({json.dumps(found(each, "baseline")) for each in alone}) > 15


@pytest.fixture
def overrides(tmp_path: Path) -> Path:
    return tmp_path / "overrides.csv"


@pytest.fixture
def correcting(searcher: Searcher, overrides: Path) -> Iterator[httpx.Client]:
    with client_of(build_app(lambda: searcher, overrides=overrides)) as client:
        yield client


def test_a_correction_is_a_row_of_the_overrides(
    correcting: httpx.Client, overrides: Path, query: str
) -> None:
    assert correcting.get("/api/choices").json()["overrides"] is True
    for override in (
        {"image_id": query, "action": "drop", "label": ""},
        {"image_id": "red disc/1.jpg", "action": "relabel", "label": "blue disc"},
    ):
        response = correcting.post("/api/overrides", json=override)
        assert (response.status_code, response.json()) == (200, override)
    assert overrides.read_text() == (
        f"image_id,action,label\n{query},drop,\nred disc/1.jpg,relabel,blue disc\n"
    )


@pytest.mark.parametrize(
    ("override", "status", "line"),
    [
        (
            {"image_id": "gone.jpg", "action": "drop"},
            404,
            "image_id: found 'gone.jpg'; allowed: an image_id of the catalog",
        ),
        (
            {"image_id": "red disc/1.jpg", "action": "relabel", "label": "blue disk"},
            422,
            "class: found 'blue disk'; allowed: 'black disc', 'black square', 'blue disc', 'blue "
            "square', 'green disc', 'green square', 'purple disc', 'purple square', 'red disc', "
            "'red square'; did you mean 'blue disc'?",
        ),
        (
            {"image_id": "red disc/1.jpg", "action": "drop", "label": "blue disc"},
            422,
            "label: found 'blue disc'; allowed with drop: none",
        ),
        (
            {"image_id": "red disc/2.jpg", "action": "drop"},
            422,
            "image_id: found 'red disc/2.jpg', which overrides.csv has already; allowed: once; "
            "edit the file",
        ),
        (
            {"image_id": "red disc/1.jpg", "action": "remove"},
            422,
            "action: found 'remove'; input should be 'drop' or 'relabel'",
        ),
    ],
)
def test_a_wrong_correction_is_one_line_and_not_written(
    override: dict[str, str], status: int, line: str, correcting: httpx.Client, overrides: Path
) -> None:
    before = "image_id,action,label\nred disc/2.jpg,drop,\n"
    overrides.write_text(before)
    response = correcting.post("/api/overrides", json=override)
    assert (response.status_code, response.json()) == (status, {"error": line})
    assert overrides.read_text() == before


def test_a_page_of_another_site_cannot_correct(
    correcting: httpx.Client, overrides: Path, query: str
) -> None:
    override = {"image_id": query, "action": "drop"}
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        refused = correcting.post("/api/overrides", json=override, headers=headers)
        assert refused.status_code == 403
    assert not overrides.exists()


def test_corrections_at_the_same_time_are_all_written(
    correcting: httpx.Client, overrides: Path, searcher: Searcher
) -> None:
    ids = sorted(searcher.catalog.images.ids)[:16]

    def drop(image_id: str) -> int:
        override = {"image_id": image_id, "action": "drop"}
        return correcting.post("/api/overrides", json=override).status_code

    with ThreadPoolExecutor(len(ids)) as people:
        assert set(people.map(drop, ids)) == {200}
    assert sorted(overrides.read_text().splitlines()[1:]) == [f"{each},drop," for each in ids]


def test_without_a_file_of_overrides_nothing_can_be_corrected(
    client: httpx.Client, query: str
) -> None:
    response = client.post("/api/overrides", json={"image_id": query, "action": "drop"})
    line = "/api/overrides: no such page; see /docs"
    assert (response.status_code, response.json()) == (404, {"error": line})


def test_a_full_queue_is_an_error_that_says_to_try_again(searcher: Searcher, query: str) -> None:
    with client_of(build_app(lambda: searcher, max_searches=0)) as client:
        response = client.get(path_of(query))
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")
    assert response.json() == {"error": "too many searches are waiting; try again in a moment"}


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (UserError("embeddings/a: gone; run: dvc repro"), "embeddings/a: gone; run: dvc repro"),
        (RuntimeError("secret"), "the server failed; its terminal shows why"),
    ],
)
def test_a_failure_of_the_server_is_one_line_and_the_next_search_works(
    searcher: Searcher,
    query: str,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    line: str,
) -> None:
    def fail(*_: object) -> None:
        raise raised

    with serving(build_app(lambda: searcher)) as address:
        with monkeypatch.context() as broken, open_client(address) as first:
            broken.setattr(searcher, "search_image", fail)
            response = first.get(path_of(query))
        assert (response.status_code, response.json()) == (500, {"error": line})
        with open_client(address) as second:
            assert second.get(path_of(query)).status_code == 200


def test_openapi_describes_the_api_and_its_errors(client: httpx.Client) -> None:
    openapi = client.get("/openapi.json").json()
    assert set(openapi["paths"]) == {
        "/api/choices",
        "/api/clusters",
        "/api/clusters/{number}",
        "/api/random-query",
        "/api/search",
        "/api/search/{image_id}",
        "/api/images/{image_id}",
    }
    posted = openapi["paths"]["/api/search"]["post"]
    assert posted["requestBody"]["content"]["image/*"]["schema"]["format"] == "binary"
    names = {each["name"] for each in posted["parameters"]}
    parts = {"text", "without", "like", "unlike"}
    assert names == parts | {"k", "class", "group", "gallery", "crop", "name", "preview"}
    for path in openapi["paths"].values():
        for request in path.values():
            failure = request["responses"]["4XX"]["content"]["application/json"]["schema"]
            assert failure == {"$ref": "#/components/schemas/ErrorResponse"}
            assert "422" not in request["responses"]


def test_the_page_loads_nothing_from_other_sites(client: httpx.Client) -> None:
    assert "<title>lookalike</title>" in client.get("/").text
    assert "https://" not in client.get("/docs").text
    for path in PAGE.iterdir():
        assert client.get(f"/page/{path.name}").content == path.read_bytes()
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path


def test_masks_are_cached(searcher: Searcher) -> None:
    find = searcher._filters._mask_group
    first, second = (find("baseline", "disc") for _ in range(2))
    assert first is second
    assert not np.array_equal(first, find("baseline", "square"))


def ids_of(response: dict[str, Any], model: str) -> list[str]:
    return [image_id for image_id, _ in found(response, model)]


def test_images_beside_the_query_are_parts_of_it_and_not_results(
    client: httpx.Client, searcher: Searcher, query: str
) -> None:
    plain = client.get(path_of(query)).json()
    liked, unliked = ids_of(plain, "finetuned")[:2]
    params = {"like": [liked], "unlike": [unliked], "k": 40}
    response = client.get(path_of(query), params=params).json()
    for model, index in searcher.model_indexes.items():
        expected = index.search(
            np.stack([index.read_vector(query), index.read_vector(liked)]),
            40,
            exclude=query,
            allowed=index.mask_without([liked, unliked]),
            unwanted=index.read_vector(unliked)[None],
        )
        assert found(response, model) == [(each.image_id, each.score) for each in expected]
        assert not {query, liked, unliked} & set(ids_of(response, model))
    first = response["models"][0]
    assert (first["relevant_count"], first["neighbors"][0]["relevant"]) == (None, None)


def test_images_alone_are_a_query(client: httpx.Client, query: str) -> None:
    alone = client.get("/api/search", params={"like": [query], "k": 12}).json()
    usual = client.get(path_of(query)).json()
    for model in MODELS:
        assert ids_of(alone, model) == ids_of(usual, model)
    assert alone["query"] == {"image_id": None, "classes": [], "group": None, "preview": None}


def test_words_are_searched_by_the_models_that_understand_them(searchable_by_text: Path) -> None:
    searcher = Searcher(searchable_by_text, MODELS)
    assert searcher.choices.text == ["baseline"]
    with client_of(build_app(lambda: searcher)) as client:
        response = client.get("/api/search", params={"text": "blue square", "k": 4}).json()
        assert [each["model"] for each in response["models"]] == ["baseline"]
        assert {id_.partition("/")[0] for id_ in ids_of(response, "baseline")} == {"blue square"}
        photo = draw("red", "disc", 99)
        both = client.post(
            "/api/search", params={"text": "blue square", "k": 8}, content=photo
        ).json()
        names = {id_.partition("/")[0] for id_ in ids_of(both, "baseline")}
        assert names >= {"blue square", "red disc"}
        assert both["models"][0]["match"] is None


def test_a_query_of_parts_that_cannot_be_made_one_is_refused_in_one_line(
    searchable_by_text: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(searchable_by_text, project)
    change_params(project, {"index.factory": "PQ8x4fs"})
    index_again(project, "baseline")
    searcher = Searcher(project, ("baseline",))
    assert not searcher.choices.parts
    with client_of(build_app(lambda: searcher)) as client:
        query = searcher.catalog.queries[0]
        alone = client.get("/api/search", params={"text": " red disc ", "k": 1})
        assert alone.status_code == 200
        blank = client.get("/api/search", params={"text": "  "})
        assert blank.status_code == 422
        both = client.get(path_of(query), params={"text": "red disc"})
        assert both.status_code == 422
        assert "keeps no vectors" in both.json()["error"]


def test_without_what_words_need_images_are_still_searched(
    searchable_by_text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = tmp_path / "project"
    shutil.copytree(searchable_by_text, project)
    (project / "models/baseline/text.safetensors").write_bytes(b"cut")
    searcher = Searcher(project, MODELS)
    assert searcher.choices.text == []
    assert caplog.messages[0].startswith("baseline: no words can be searched: ")
    with client_of(build_app(lambda: searcher)) as client:
        assert client.get(path_of(searcher.catalog.queries[0])).status_code == 200
        assert client.get("/api/search", params={"text": "red disc"}).status_code == 422

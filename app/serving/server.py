"""The search page and its JSON, as an application of FastAPI."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from app.serving.addresses import LOOPBACK
from app.serving.api_schema import (
    Choices,
    Failure,
    PhotoOptions,
    RandomImage,
    SearchOptions,
    SearchResponse,
)
from app.serving.browser_images import encode_for_browser
from app.serving.cross_site import CrossSiteGuard
from app.serving.request_queue import QueueFullError, RequestQueue
from app.serving.searcher import (
    RefusedPhotoError,
    Searcher,
    UnknownChoiceError,
    UnknownImageError,
)
from app.serving.uploads import UploadError, receive
from pipeline.errors import UserError

PAGE = Path(__file__).parent / "page"
UPLOAD_SECONDS = 60
# In line at once: 20 people, each with a search that runs and one that was given up.
PLACES = 48

STATUSES: dict[type[UserError], int] = {
    RefusedPhotoError: 400,
    UnknownImageError: 404,
    UnknownChoiceError: 422,
}
DESCRIPTION = (
    "Searches a dataset for images that look like one, with several models side by side. "
    'Every failure is answered with `{"error": …}`, one line.'
)
PHOTO_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "the photo's bytes as they are: JPEG, PNG, WebP, HEIC or what Pillow reads",
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}
IMAGE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}}, "description": "the image's bytes"}
}

Tell = Callable[[str], None]


def build_app(
    searcher: Searcher,
    *,
    hosts: Sequence[str] = LOOPBACK,
    upload_seconds: float = UPLOAD_SECONDS,
    places: int = PLACES,
    tell: Tell | None = None,
) -> FastAPI:
    """Return the application.

    hosts: the host names it answers to, see `find_allowed_hosts`. upload_seconds: the time a photo
    has to come in. places: how many searches may run and wait. tell: gets a line for each request
    that failed.
    """
    app = FastAPIOffline(  # /docs loads its scripts from the package instead of a CDN
        title="lookalike",
        description=DESCRIPTION,
        redoc_url=None,
        favicon_url="/page/icon.svg",
        responses={"4XX": {"model": Failure}, "5XX": {"model": Failure}},
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    app.add_middleware(CrossSiteGuard)  # outermost: its headers are on every response
    _answer_failures(app, tell or _tell_terminal)
    _serve_searches(
        app,
        searcher,
        RequestQueue(at_once=_at_once(), places=places),
        upload_seconds=upload_seconds,
    )
    _serve_images(app, searcher)
    _serve_page(app)
    return app


def _serve_searches(
    app: FastAPI, searcher: Searcher, line: RequestQueue, *, upload_seconds: float
) -> None:
    @app.get("/api/choices", tags=["choices"])
    async def choices() -> Choices:
        """What there is to choose from, and the limits of an upload."""
        return searcher.choices

    @app.get("/api/random", tags=["search"])
    async def random_image() -> RandomImage:
        """A random test image."""
        return RandomImage(image_id=searcher.sample_query())

    @app.post("/api/search", tags=["search"], openapi_extra=PHOTO_BODY)
    async def search_by_photo(
        request: Request, options: Annotated[PhotoOptions, Query()]
    ) -> SearchResponse:
        """Search by an own photo, sent as the body."""
        with line.place():
            photo = await receive(
                request.stream(),
                most_bytes=searcher.choices.most_bytes,
                seconds=upload_seconds,
                name=options.name,
            )
            return await line.work(partial(searcher.search_photo, photo, options))

    @app.get("/api/search/{image_id:path}", tags=["search"])
    async def search_by_image(
        image_id: str, options: Annotated[SearchOptions, Query()]
    ) -> SearchResponse:
        """Search by an image of the dataset; an image_id's `/` may be sent as %2F."""
        with line.place():
            return await line.work(partial(searcher.search_image, image_id, options))


def _serve_images(app: FastAPI, searcher: Searcher) -> None:
    line = RequestQueue(at_once=_at_once(), places=sys.maxsize)

    @app.get(
        "/api/images/{image_id:path}",
        tags=["images"],
        response_class=Response,
        responses=IMAGE,
    )
    async def image(
        request: Request,
        image_id: str,
        side: Annotated[
            int | None, Query(ge=16, le=2048, description="shrink its longer side to this")
        ] = None,
    ) -> Response:
        """An image of the dataset: as packed where a browser shows that, else as a JPEG."""
        encoded = await line.work(partial(searcher.read_image, image_id))
        # An address stays the same when the pipeline runs again, so a browser asks each time.
        tag = f'"{sha256(encoded).hexdigest()[:24]}-{side or 0}"'
        headers = {"etag": tag, "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        tile = await line.work(partial(encode_for_browser, encoded, side=side))
        return Response(tile.encoded, media_type=tile.media_type, headers=headers)


def _serve_page(app: FastAPI) -> None:
    # Listed once: what is asked for is looked up here, and never joined to a path.
    files = {path.name: path for path in PAGE.iterdir()}

    def send(name: str) -> FileResponse:
        if name not in files:
            raise HTTPException(404)
        return FileResponse(files[name], headers={"cache-control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return send("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> FileResponse:
        return send(name)


def _answer_failures(app: FastAPI, tell: Tell) -> None:
    def fail(request: Request, status: int, line: str) -> JSONResponse:
        tell(f"{request.method} {status}: {line}")
        headers = {"retry-after": "2"} if status == 503 else None
        return JSONResponse({"error": line}, status, headers)

    @app.exception_handler(UserError)
    async def refused(request: Request, error: UserError) -> JSONResponse:
        # One that is none of ours is an artifact's, such as embeddings that were taken away.
        return fail(request, STATUSES.get(type(error), 500), str(error))

    @app.exception_handler(UploadError)
    async def not_taken(request: Request, error: UploadError) -> JSONResponse:
        return fail(request, error.status, str(error))

    @app.exception_handler(QueueFullError)
    async def full(request: Request, _: QueueFullError) -> JSONResponse:
        return fail(request, 503, "too many searches wait already; try again in a moment")

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, __: ClientDisconnect) -> Response:
        # Who gave up an upload for another one: nobody reads this, and nothing failed.
        return Response(status_code=400)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return fail(request, 422, _describe(error))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return fail(request, 404, f"{request.url.path}: found no such page; see /docs")
        if error.status_code == 405:
            line = f"{request.url.path}: found {request.method}; allowed: see /docs"
            return fail(request, 405, line)
        return fail(request, error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def broken(request: Request, _: Exception) -> JSONResponse:
        # The server prints the traceback by itself.
        return fail(request, 500, "the server failed; its terminal says why")


def _describe(error: RequestValidationError) -> str:
    first = error.errors()[0]
    reason = first["msg"][:1].lower() + first["msg"][1:]
    return f"{first['loc'][-1]}: found '{first.get('input')}'; {reason}"


def _at_once() -> int:
    # Two at least, so that nobody waits while a huge photo of another is decoded; not many, since
    # each such photo takes 300 MB of memory.
    return max(2, min(8, os.cpu_count() or 1))


def _tell_terminal(line: str) -> None:
    # What a stranger sends may hold what moves a terminal's cursor.
    print(
        "serve: " + "".join(c if c.isprintable() else "?" for c in line),
        file=sys.stderr,
        flush=True,
    )

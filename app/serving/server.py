"""The search page and its JSON API, as a FastAPI application."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from app.searching.catalog import UnknownNameError
from app.searching.photo_memory import PHOTO_MEMORY
from app.searching.untrusted_images import MAX_BYTES
from app.serving.addresses import LOOPBACK
from app.serving.api_schema import (
    Choices,
    ErrorResponse,
    Override,
    PhotoSearchOptions,
    RandomQuery,
    SearchOptions,
    SearchResponse,
)
from app.serving.browser_images import encode_for_browser
from app.serving.catalog_clusters import UnknownClusterError, UnknownModelError
from app.serving.cluster_routes import serve_clusters
from app.serving.cross_site import CrossSiteGuard
from app.serving.memory_budget import MemoryBudget
from app.serving.request_queue import QueueFullError, RequestQueue
from app.serving.searcher import (
    EmptyQueryError,
    RefusedOverrideError,
    RefusedPhotoError,
    Searcher,
    UnknownImageError,
)
from app.serving.token_guard import TokenGuard
from app.serving.uploads import UploadError, open_spool, receive_upload
from pipeline.errors import UserError, escape_unprintable
from pipeline.index.combined_queries import PartsError

PAGE = Path(__file__).parent / "page"
UPLOAD_SECONDS = 60
# Enough for 20 people, each with a running search and one that they gave up.
MAX_SEARCHES = 48
# Photos that are received or searched at a time: each is a file, and a little of it in memory.
MAX_UPLOADS = 96

STATUSES: dict[type[UserError], int] = {
    RefusedPhotoError: 400,
    UnknownImageError: 404,
    UnknownClusterError: 404,
    UnknownModelError: 422,
    UnknownNameError: 422,
    RefusedOverrideError: 422,
    EmptyQueryError: 422,
    PartsError: 422,
}
DESCRIPTION = (
    "Search a dataset for images that are similar to a query image, with several models side by "
    'side. The response to every request that fails is `{"error": "…"}`, in one line.'
)
PHOTO_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "the bytes of the image file: JPEG, PNG, WebP, HEIC, AVIF, BMP, GIF or TIFF",
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}
IMAGE_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}}, "description": "the bytes of the image"}
}

logger = logging.getLogger(__name__)


def build_app(
    current: Callable[[], Searcher],
    *,
    hosts: Sequence[str] = LOOPBACK,
    token: str | None = None,
    overrides: Path | None = None,
    upload_seconds: float = UPLOAD_SECONDS,
    max_searches: int = MAX_SEARCHES,
) -> FastAPI:
    """Return the application.

    current: gives the searcher, which each request asks for once, so that it sees one index alone;
    a CurrentSearcher. hosts: the host names it answers to, see `find_allowed_hosts`. token: that
    requests need, see `TokenGuard`; None where they need none. overrides: the file to which the
    page may add corrections; None where it may not. upload_seconds: within which a photo must
    arrive. max_searches: that run and wait; further ones are refused.
    """
    app = FastAPIOffline(  # its /docs loads scripts from that package instead of a CDN
        title="lookalike",
        description=DESCRIPTION,
        redoc_url=None,
        favicon_url="/page/icon.svg",
        responses={"4XX": {"model": ErrorResponse}, "5XX": {"model": ErrorResponse}},
    )
    if token is not None:
        app.add_middleware(TokenGuard, token=token)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    app.add_middleware(CrossSiteGuard)  # outermost: its headers are on every response
    _handle_errors(app)
    queue = RequestQueue(max_running=_count_threads(), max_admitted=max_searches)
    _serve_choices(app, current, overrides=overrides is not None)
    _serve_searches(app, current, queue, upload_seconds=upload_seconds)
    serve_clusters(app, current, max_admitted=max_searches)
    if overrides is not None:
        _serve_overrides(app, current, overrides)
    _serve_images(app, current)
    _serve_page(app)
    return app


def _serve_choices(app: FastAPI, current: Callable[[], Searcher], *, overrides: bool) -> None:
    @app.get("/api/choices", tags=["search"])
    async def list_choices() -> Choices:
        """What a search can choose from, and the limits of an upload."""
        return current().choices.model_copy(update={"overrides": overrides})


def _serve_overrides(app: FastAPI, current: Callable[[], Searcher], path: Path) -> None:
    queue = RequestQueue(max_running=1)  # each reads the file and writes it anew

    @app.post("/api/overrides", tags=["images"])
    async def override(override: Override) -> Override:
        """Correct an image: a row is added to overrides.csv, which `dvc repro` applies."""
        return await queue.run(partial(current().override, override, path))


def _serve_searches(
    app: FastAPI, current: Callable[[], Searcher], queue: RequestQueue, *, upload_seconds: float
) -> None:
    uploads = RequestQueue(max_running=1, max_admitted=MAX_UPLOADS)
    # All searches wait in one line, for memory, of which each takes a thread's share or more: so
    # there is a thread where there is memory. In a line of their own, photos, which take longest,
    # would wait for each other alone, and twenty people ten times as long for them as one.
    memory, share = MemoryBudget(PHOTO_MEMORY), PHOTO_MEMORY // _count_threads()
    headers = RequestQueue(max_running=1)

    async def search_within_memory(
        photo: IO[bytes], size: int, options: PhotoSearchOptions
    ) -> SearchResponse:
        searcher = current()
        decoded = await headers.run(lambda: searcher.measure_photo(_read(photo), options))
        async with memory.reserve(max(size + decoded, share)):
            return await queue.run(lambda: searcher.search_photo(_read(photo), options))

    @app.get("/api/random-query", tags=["search"])
    async def random_query() -> RandomQuery:
        """A random query image of the test split."""
        return RandomQuery(image_id=current().sample_query())

    @app.post("/api/search", tags=["search"], openapi_extra=PHOTO_BODY)
    async def search_by_photo(
        request: Request, options: Annotated[PhotoSearchOptions, Query()]
    ) -> SearchResponse:
        """Search with a photo, sent as the body of the request."""
        with uploads.admit(), open_spool() as photo:
            size = await receive_upload(
                request.stream(),
                photo,
                max_bytes=MAX_BYTES,
                seconds=upload_seconds,
                name=options.name,
            )
            with queue.admit():  # not before: who sends slowly keeps no place of the others
                return await search_within_memory(photo, size, options)

    @app.get("/api/search", tags=["search"])
    async def search_by_parts(options: Annotated[SearchOptions, Query()]) -> SearchResponse:
        """Search with words, images of the catalog, or both together."""
        with queue.admit():
            async with memory.reserve(share):
                return await queue.run(partial(current().search_parts, options))

    @app.get("/api/search/{image_id:path}", tags=["search"])
    async def search_by_image(
        image_id: str, options: Annotated[SearchOptions, Query()]
    ) -> SearchResponse:
        """Search with an image of the catalog; a `/` in its image_id may be sent as `%2F`."""
        with queue.admit():
            async with memory.reserve(share):
                return await queue.run(partial(current().search_image, image_id, options))


def _read(photo: IO[bytes]) -> bytes:
    photo.seek(0)
    return photo.read()


def _serve_images(app: FastAPI, current: Callable[[], Searcher]) -> None:
    queue = RequestQueue(max_running=_count_threads())

    @app.get(
        "/api/images/{image_id:path}",
        tags=["images"],
        response_class=Response,
        responses=IMAGE_RESPONSE,
    )
    async def image(
        request: Request,
        image_id: str,
        max_side: Annotated[
            int | None, Query(ge=16, le=2048, description="shrink the longer side to this")
        ] = None,
    ) -> Response:
        """An image of the catalog, as a JPEG unless browsers show its own format."""
        encoded = await queue.run(partial(current().read_image, image_id))
        # After another run of the pipeline, the same URL may be another image: a browser must ask.
        tag = f'"{sha256(encoded).hexdigest()[:24]}-{max_side or 0}"'
        headers = {"etag": tag, "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        shown = await queue.run(partial(encode_for_browser, encoded, max_side=max_side))
        return Response(shown.encoded, media_type=shown.media_type, headers=headers)


def _serve_page(app: FastAPI) -> None:
    # Listed once: a requested name is looked up here, and never joined to a path.
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


def _handle_errors(app: FastAPI) -> None:
    def respond(request: Request, status: int, error: str) -> JSONResponse:
        # Requests of others may hold characters that control a terminal.
        logger.warning("%s %d: %s", request.method, status, escape_unprintable(error))
        headers = {"retry-after": "2"} if status == 429 else None
        return JSONResponse({"error": error}, status, headers)

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> JSONResponse:
        # Any other UserError is about a file of the project, such as embeddings that were removed.
        return respond(request, STATUSES.get(type(error), 500), str(error))

    @app.exception_handler(UploadError)
    async def upload_error(request: Request, error: UploadError) -> JSONResponse:
        return respond(request, error.status, str(error))

    @app.exception_handler(QueueFullError)
    async def queue_full(request: Request, _: QueueFullError) -> JSONResponse:
        return respond(request, 429, "too many searches are waiting; try again in a moment")

    @app.exception_handler(ClientDisconnect)
    async def disconnected(_: Request, __: ClientDisconnect) -> Response:
        # The page cancels an upload when another search begins: nobody reads this response.
        return Response(status_code=400)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return respond(request, 422, _describe(error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return respond(request, 404, f"{request.url.path}: no such page; see /docs")
        if error.status_code == 405:
            line = f"{request.url.path}: found {request.method}; allowed: see /docs"
            return respond(request, 405, line)
        return respond(request, error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def failed(request: Request, _: Exception) -> JSONResponse:
        # uvicorn logs the traceback.
        return respond(request, 500, "the server failed; its terminal shows why")


def _describe(error: RequestValidationError) -> str:
    first = error.errors()[0]
    reason = first["msg"][:1].lower() + first["msg"][1:]
    return f"{first['loc'][-1]}: found '{first.get('input')}'; {reason}"


def _count_threads() -> int:
    # At least two, so that a huge photo does not delay other searches; at most eight, each of which
    # takes memory to embed.
    return max(2, min(8, os.cpu_count() or 1))

"""The token that a server asks for: nobody searches who was not given it."""

import hmac
import logging
import re
import secrets
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.errors import UserError

# Characters that are the same in an address and in a header.
ALLOWED = re.compile(r"[A-Za-z0-9._~-]{16,}")  # nobody tries all of so many
# They show nothing of the catalog, and make the page that asks for the token one that can be read.
OPEN_PATHS = ("/page/style.css", "/page/icon.svg")
NO_TOKEN = Path(__file__).parent / "page" / "no-token.html"
ERROR = (
    "token: found none, or a wrong one; allowed: the one in the address that `lookalike serve` "
    "printed; open that address, or send the header Authorization: Bearer TOKEN"
)

logger = logging.getLogger(__name__)


def make_token() -> str:
    """Return a random token that nobody guesses."""
    return secrets.token_urlsafe(24)


def check_token(token: str) -> str:
    """Return `token`; raises a UserError where an address or a header would change it."""
    if not ALLOWED.fullmatch(token):
        raise UserError(
            f"--token: found '{token}'; allowed: 16 or more letters, digits and . _ ~ -; leave it "
            "out and one is made"
        )
    return token


class TokenGuard:
    """Answers only requests that have the token: in the Authorization header, or in a cookie.

    An address with `?token=` sets the cookie, and leads to the address without it, so that the
    token stays neither in the browser's history nor in a link that is shared. No other part of the
    application sees it.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token
        self._cookie = sha256(token.encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given, rest = _take_token(scope["query_string"])
        scope = {**scope, "query_string": rest}
        is_page = scope["method"] == "GET" and not scope["path"].startswith("/api/")
        if is_page and given is not None and _is_same(given, self._token):
            answer = self._let_in(scope, headers)
        elif self._is_known(scope, headers):
            await self._app(scope, receive, send)
            return
        else:
            logger.warning("%s 401: no token, or a wrong one", scope["method"])
            answer = _refuse(is_page and "text/html" in headers.get("accept", ""))
        await answer(scope, receive, send)

    def _is_known(self, scope: Scope, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _is_same(given.strip(), self._token):
            return True
        cookie = cookie_parser(headers.get("cookie", "")).get(_cookie_name(scope), "")
        return _is_same(cookie, self._cookie)

    def _let_in(self, scope: Scope, headers: Headers) -> Response:
        query = scope["query_string"].decode("latin-1")
        # Relative to this host: a path of several slashes would be another host's name.
        address = "/" + scope["path"].lstrip("/") + (f"?{query}" if query else "")
        answer: Response = RedirectResponse(address, 303)
        if headers.get("sec-fetch-site") == "cross-site":
            # Of a link on another site, as in a mail, browsers send no strict cookie with what a
            # redirection asks for, but with what this page asks for.
            answer = Response(headers={"refresh": f"0; url={answer.headers['location']}"})
        answer.headers["cache-control"] = "no-store"
        answer.set_cookie(_cookie_name(scope), self._cookie, httponly=True, samesite="strict")
        return answer


def _take_token(query: bytes) -> tuple[str | None, bytes]:
    """Return the token of a query string, None without one, and the query string without it."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    tokens = [value for name, value in pairs if name == "token"]
    if not tokens:
        return None, query
    return tokens[0], urlencode([pair for pair in pairs if pair[0] != "token"]).encode()


def _cookie_name(scope: Scope) -> str:
    # Browsers send a host's cookies to all of its ports.
    return f"lookalike-{(scope.get('server') or ('', 0))[1]}"


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _refuse(for_a_browser: bool) -> Response:
    headers = {"www-authenticate": "Bearer", "cache-control": "no-store"}
    if for_a_browser:
        return HTMLResponse(NO_TOKEN.read_text(encoding="utf-8"), 401, headers)
    return JSONResponse({"error": ERROR}, 401, headers)

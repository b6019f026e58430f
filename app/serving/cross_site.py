"""Keeps the pages of other sites from using a server on this machine."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A browser loads scripts, styles and images from this server only, and no site may frame the page.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


# FastAPI's page of the API, which shows nothing but /openapi.json, is started by an inline script.
DOCS_POLICY = HEADERS["content-security-policy"].replace(
    "script-src 'self'", "script-src 'self' 'unsafe-inline'"
)


class CrossSiteGuard:
    """Refuses requests from pages of other sites, and adds HEADERS to each response.

    Another site cannot read the responses, but it could make its visitors' browsers search here
    until the queue is full. Browsers send Origin and Sec-Fetch-Site headers with such requests;
    programs such as curl send neither. Against DNS rebinding (another site's host name that points
    at 127.0.0.1) the server also needs TrustedHostMiddleware.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if scope["path"] == "/docs":
                    headers["content-security-policy"] = DOCS_POLICY
            await send(message)

        headers = Headers(scope=scope)
        if is_cross_site(scope["method"], scope["path"], headers):
            site = headers.get("origin", "another site")
            error = f"origin: found '{site}'; allowed: this server's own page, or a program"
            await JSONResponse({"error": error}, 403)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


def is_cross_site(method: str, path: str, headers: Headers) -> bool:
    """Return whether a page of another site sends this request to the API.

    A page at another port of this machine is of the same site, but of another origin; it may GET
    (and cannot read the response), but not POST.
    """
    if path.startswith("/api/") and headers.get("sec-fetch-site") == "cross-site":
        return True
    origin = headers.get("origin")
    if method != "POST" or origin is None:
        return False
    # Compared without the scheme, which differs where a proxy adds encryption.
    return origin.rpartition("://")[2].lower() != headers.get("host", "").lower()

"""What keeps other sites out of a page on this machine: who asks, for which Host, and headers."""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

# The page's own files, and images that it holds itself; nothing from elsewhere, no frames.
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


class Guard:
    """Answers only its own page and programs, for an allowed host; puts HEADERS on each answer.

    Another site can let its name point at 127.0.0.1 (DNS rebinding): to the browser it is then one
    site with this page, and reads all images. The Host header gives it away. Under its own name
    it can read nothing, but have its visitors' browsers search here until no place is left. Their
    Origin and Sec-Fetch-Site headers give it away; a program sends neither.

    hosts: names without port; None for any.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        headers = Headers(scope=scope)
        host = name_host(headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            line = (
                f"host: found '{host}'; allowed: {', '.join(self._hosts)}; "
                "to serve other machines: lookalike serve --host 0.0.0.0"
            )
            await JSONResponse({"error": line}, 421)(scope, receive, send_guarded)
        elif is_foreign(scope["method"], scope["path"], headers):
            site = headers.get("origin", "another site")
            line = f"origin: found '{site}'; allowed: this server's own page, or a program"
            await JSONResponse({"error": line}, 403)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)


def is_foreign(method: str, path: str, headers: Headers) -> bool:
    """Whether a browser says that the page of another site asks for what costs time to answer.

    A page at another port of this machine is of the same site, but of another origin.
    """
    if path.startswith("/api/") and headers.get("sec-fetch-site") == "cross-site":
        return True
    origin = headers.get("origin")
    if method != "POST" or origin is None:
        return False
    # The scheme may differ from ours where a proxy encrypts.
    return origin.rpartition("://")[2].lower() != headers.get("host", "").lower()


def name_host(header: str) -> str:
    """Return the name in a Host header, without its port: "[::1]:8000" -> "[::1]"."""
    end = header.find("]") + 1 if header.startswith("[") else header.find(":")
    return (header[:end] if end > 0 else header).lower()

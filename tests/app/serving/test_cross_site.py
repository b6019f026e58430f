"""Requests of other sites' pages are known by the headers that browsers send."""

import pytest
from starlette.datastructures import Headers

from app.serving.cross_site import is_cross_site

HOST = {"host": "localhost:8000"}


@pytest.mark.parametrize(
    ("method", "path", "sent", "cross_site"),
    [
        ("POST", "/api/search", {}, False),
        ("POST", "/api/search", {"origin": "http://localhost:8000"}, False),
        ("POST", "/api/search", {"origin": "https://LOCALHOST:8000"}, False),
        ("POST", "/api/search", {"origin": "http://localhost:3000"}, True),
        ("POST", "/api/search", {"origin": "http://127.0.0.1:8000"}, True),
        ("POST", "/api/search", {"origin": "https://evil.example"}, True),
        ("POST", "/api/search", {"origin": "null"}, True),
        ("POST", "/api/search", {"sec-fetch-site": "cross-site"}, True),
        ("POST", "/api/search", {"sec-fetch-site": "same-origin"}, False),
        ("GET", "/api/random-query", {"sec-fetch-site": "cross-site"}, True),
        ("GET", "/api/random-query", {"sec-fetch-site": "none"}, False),
        ("GET", "/", {"sec-fetch-site": "cross-site"}, False),  # a link to the page
    ],
)
def test_a_request_of_another_site_is_known_by_its_headers(
    method: str, path: str, sent: dict[str, str], cross_site: bool
) -> None:
    assert is_cross_site(method, path, Headers(HOST | sent)) is cross_site

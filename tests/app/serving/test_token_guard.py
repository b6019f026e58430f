"""The token: without it nobody searches, and it stays out of logs, links and other sites."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from app.serving.searcher import Searcher
from app.serving.server import build_app
from app.serving.token_guard import ERROR, OPEN_PATHS, check_token, make_token
from pipeline.errors import UserError, escape_unprintable
from tests.helpers.browser import opened_browser, opened_page
from tests.helpers.searchable import draw
from tests.helpers.serving import open_client, serving

TOKEN = make_token()
BEARER = {"authorization": f"Bearer {TOKEN}"}
PATHS = (
    "/",
    "/?image=a",
    "/docs",
    "/openapi.json",
    "/nowhere",
    "/page/main.js",
    "/page/no-token.html",
    "/api/choices",
    "/api/random-query",
    "/api/search/red%20disc%2F1.jpg",
    "/api/images/red%20disc%2F1.jpg",
)


@pytest.fixture(scope="module")
def guarded(searcher: Searcher) -> Iterator[str]:
    with serving(build_app(lambda: searcher, token=TOKEN)) as address:
        yield address


@pytest.fixture
def client(guarded: str) -> Iterator[httpx.Client]:
    with open_client(guarded) as opened:
        yield opened


WRONG: list[dict[str, str]] = [
    {},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"authorization": "Bearer"},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": TOKEN},
    {"authorization": "Bearer \xe9\xff"},
    {"cookie": f"lookalike-80={TOKEN}"},
    {"cookie": f"token={TOKEN}; a; =; b=\xff"},
]


@pytest.mark.parametrize("headers", WRONG)
def test_without_the_token_nothing_is_answered(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    port = client.base_url.port
    encoded = {
        name: value.replace("lookalike-80", f"lookalike-{port}").encode("latin-1")
        for name, value in headers.items()
    }
    for path in PATHS:
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            response = client.request(method, path, headers=encoded)
            assert response.status_code == 401, (method, path)
            assert response.headers["www-authenticate"] == "Bearer"
            if method != "HEAD":
                assert response.json() == {"error": ERROR}
    photo = client.post("/api/search", content=draw("red", "disc", 1), headers=encoded)
    assert photo.status_code == 401


def test_what_is_open_shows_nothing_of_the_catalog(client: httpx.Client) -> None:
    assert {client.get(path).status_code for path in OPEN_PATHS} == {200}
    assert all(path.startswith("/page/") for path in OPEN_PATHS)


def test_a_program_sends_it_in_a_header(client: httpx.Client) -> None:
    assert client.get("/api/choices", headers=BEARER).json()["overrides"] is False
    lower = {"authorization": f"bearer  {TOKEN}"}
    photo = draw("red", "disc", 1)
    assert client.post("/api/search", content=photo, headers=lower).status_code == 200


def test_the_address_sets_a_cookie_and_leads_to_itself_without_the_token(
    client: httpx.Client,
) -> None:
    response = client.get(f"/?image=a%20b&token={TOKEN}&k=6")
    assert (response.status_code, response.headers["location"]) == (303, "/?image=a+b&k=6")
    cookie = response.headers["set-cookie"]
    assert "; HttpOnly; Path=/; SameSite=strict" in cookie
    assert "expires" not in cookie.lower()
    assert TOKEN not in cookie
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"
    for path in ("/", "/docs", "/api/choices", "/page/main.js"):
        assert client.get(path).status_code == 200, path  # the client keeps the cookie


def test_the_address_leads_to_this_host_alone(client: httpx.Client) -> None:
    for path in ("//evil.example/", "/%2F%2Fevil.example", "/%5Cevil.example"):
        location = client.get(f"{path}?token={TOKEN}").headers["location"]
        assert location.startswith("/"), path
        assert not location.startswith(("//", "/\\")), path


def test_a_link_in_a_mail_leads_to_the_page_too(client: httpx.Client) -> None:
    """A browser sends no strict cookie where a redirection follows a link of another site."""
    response = client.get(f"/?token={TOKEN}&k=6", headers={"sec-fetch-site": "cross-site"})
    assert (response.status_code, response.headers["refresh"]) == (200, "0; url=/?k=6")
    assert "SameSite=strict" in response.headers["set-cookie"]


def test_a_wrong_token_in_the_address_is_refused_and_no_api_takes_one(
    client: httpx.Client,
) -> None:
    for path in (
        "/?token=",
        "/?token=a",
        f"/?token=a&token={TOKEN}",
        f"/api/choices?token={TOKEN}",
    ):
        response = client.get(path)
        assert (response.status_code, response.json()) == (401, {"error": ERROR}), path
        assert "set-cookie" not in response.headers


def test_the_token_is_in_no_log(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    client.get(f"/nowhere?token={TOKEN}")  # it sets the cookie
    for path in ("/nowhere", "/api/search/gone.jpg", "/api/search/a?klass=b"):
        sign = "&" if "?" in path else "?"
        assert client.get(f"{path}{sign}token={TOKEN}").status_code in {303, 404, 422}
        assert client.get(path, headers=BEARER | {"cookie": ""}).status_code in {404, 422}
    client.cookies.clear()
    assert client.get(f"/api/choices?token={TOKEN}").status_code == 401
    own = [each for each in caplog.messages if not each.startswith("HTTP Request")]  # httpx
    assert len(own) >= 6
    assert TOKEN not in " ".join(own)


def test_only_characters_that_an_address_and_a_header_keep_are_a_token() -> None:
    assert check_token("a.B_0~-" * 3) == "a.B_0~-" * 3
    assert len({check_token(make_token()) for _ in range(20)}) == 20
    for wrong in (
        "",
        *(12 * "a" + end for end in ("a bc", "a&bc", "aaaé", "aaa\n", "a%20", "aaa")),
    ):
        with pytest.raises(UserError) as error:
            check_token(wrong)
        assert str(error.value) == (
            f"--token: found '{escape_unprintable(wrong)}'; allowed: 16 or more letters, digits "
            "and . _ ~ -; leave it out and one is made"
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


@pytest.mark.browser
def test_a_browser_is_let_in_by_the_address_and_told_what_to_do_without(
    browser: Browser, guarded: str
) -> None:
    with opened_page(browser, refused=("/",)) as page:
        page.goto(guarded)
        expect(page.locator("h1")).to_have_text("This search page asks for a token")
        page.goto(f"{guarded}/?token={TOKEN}")
        expect(page.locator("#indexed")).to_contain_text("40 images")
        assert page.url == f"{guarded}/"
        page.get_by_role("button", name="Random query").click()
        expect(page.locator("#status")).not_to_be_empty()
        page.reload()
        expect(page.locator("#columns img").first).to_be_visible()

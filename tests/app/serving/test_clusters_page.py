"""The clusters of the catalog on the page, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from app.serving import catalog_clusters
from app.serving.searcher import Searcher
from app.serving.server import build_app
from pipeline.data.class_names import display_names
from tests.helpers.browser import opened_browser, opened_page
from tests.helpers.searchable import draw
from tests.helpers.serving import open_client, serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


def expected(address: str, path: str) -> Any:
    with open_client(address) as client:
        return client.get(path).raise_for_status().json()


def shown_images(page: Page) -> list[str]:
    return [tile.get_attribute("data-image") or "" for tile in page.locator("a.tile").all()]


def require_images(page: Page) -> None:
    """Fail unless every image that was loaded can be seen."""
    page.evaluate(
        "Promise.all([...document.images].filter(i => !i.hidden && i.src).map(i => i.decode()))"
    )


def heading(page: Page, name: str) -> Any:
    return page.get_by_role("heading", name=name, exact=True)


def test_a_walk_through_the_clusters(browser: Browser, address: str) -> None:
    listed = expected(address, "/api/clusters")
    with opened_page(browser) as page:
        page.goto(address)
        page.get_by_role("link", name="Clusters").click()
        expect(page).to_have_url(f"{address}/?view=clusters")
        expect(heading(page, "Clusters")).to_be_visible()
        expect(page.get_by_label("Only this class")).to_be_hidden()
        count = len(listed["clusters"])
        expect(page.get_by_role("status").first).to_have_text(
            f"40 images in {count} clusters of what baseline finds similar"
        )
        assert page.title() == "Clusters · lookalike"
        for card, cluster in zip(
            page.get_by_role("article").all(), listed["clusters"], strict=True
        ):
            expect(card.get_by_role("heading")).to_have_text(f"Cluster {cluster['number']}")
            expect(card.locator(".cluster-head p")).to_have_text(f"{cluster['image_count']} images")
            expect(card.locator(".shares .name")).to_have_text(
                [each["name"] for each in cluster["classes"]]
            )
            expect(card.locator(".shares .share").first).to_have_text(
                f"{round(100 * cluster['classes'][0]['share'])}%"
            )
            names = [each["classes"][0] for each in cluster["images"]]
            alts = [image.get_attribute("alt") for image in card.get_by_role("img").all()]
            assert alts == names
        require_images(page)

        page.get_by_role("article").nth(1).click(position={"x": 40, "y": 40})  # on an image
        expect(page).to_have_url(f"{address}/?view=clusters&cluster=2")
        expect(heading(page, "Cluster 2")).to_be_visible()
        second = expected(address, "/api/clusters/2")["cluster"]["images"]
        expect(page.locator("a.tile")).to_have_count(len(second))
        assert shown_images(page) == [each["image_id"] for each in second]
        assert page.title() == "Cluster 2 · lookalike"
        require_images(page)

        page.locator("a.tile").nth(1).click()
        clicked = second[1]["image_id"]
        expect(page.locator("#query-caption small")).to_have_text(clicked)
        expect(page.locator("a.tile")).to_have_count(24)
        expect(page.get_by_label("Only this class")).to_be_visible()
        assert page.url == f"{address}/?image={quote(clicked, safe='').replace('%20', '+')}"

        page.go_back()
        expect(heading(page, "Cluster 2")).to_be_visible()
        assert shown_images(page) == [each["image_id"] for each in second]
        page.get_by_role("link", name="← All clusters").click()
        expect(page.get_by_role("article")).to_have_count(count)
        page.go_back()
        expect(heading(page, "Cluster 2")).to_be_visible()
        page.reload()
        expect(page.locator("a.tile")).to_have_count(len(second))
        expect(page.get_by_role("link", name="Clusters", exact=True)).to_have_attribute(
            "aria-current", "page"
        )


def test_the_search_is_found_again_from_the_clusters(
    browser: Browser, address: str, searcher: Searcher
) -> None:
    query = searcher.catalog.queries[0]
    with opened_page(browser) as page:
        page.goto(f"{address}/?image={quote(query, safe='')}&k=6")
        expect(page.locator("a.tile")).to_have_count(12)
        page.get_by_role("link", name="Clusters").click()
        expect(heading(page, "Clusters")).to_be_visible()
        page.get_by_role("link", name="Search", exact=True).click()
        expect(page.locator("#query-caption small")).to_have_text(query)
        expect(page.locator("a.tile")).to_have_count(12)


def test_a_photo_is_searched_from_the_clusters(browser: Browser, address: str) -> None:
    with opened_page(browser) as page:
        page.goto(f"{address}/?view=clusters&model=finetuned&cluster=1")
        expect(heading(page, "Cluster 1")).to_be_visible()
        photo = {"name": "mine.jpg", "mimeType": "", "buffer": draw("blue", "disc", 5)}
        page.set_input_files("#file", photo)
        expect(page.locator("#query-caption strong")).to_have_text("mine.jpg")
        expect(page).to_have_url(re.compile(r"/\?photo=[\d-]+$"))
        expect(page.locator("a.tile")).to_have_count(24)


def test_the_model_and_the_number_of_clusters_are_chosen(browser: Browser, address: str) -> None:
    with opened_page(browser) as page:
        page.goto(f"{address}/?view=clusters")
        expect(page.get_by_label("Grouped by the model")).to_have_value("baseline")
        page.get_by_label("Grouped by the model").select_option("finetuned")
        expect(page).to_have_url(f"{address}/?view=clusters&model=finetuned")
        page.get_by_label("Number of clusters").select_option("10")
        expect(page).to_have_url(f"{address}/?view=clusters&model=finetuned&clusters=10")
        chosen = expected(address, "/api/clusters?model=finetuned&k=10")["clusters"]
        expect(page.get_by_role("article")).to_have_count(len(chosen))
        page.get_by_role("link", name="Cluster 3", exact=True).click()
        third = expected(address, "/api/clusters/3?model=finetuned&k=10")["cluster"]["images"]
        expect(heading(page, "Cluster 3")).to_be_visible()
        assert shown_images(page) == [each["image_id"] for each in third]
        page.go_back()
        expect(page.get_by_label("Number of clusters")).to_have_value("10")
        page.go_back()
        page.go_back()
        expect(page.get_by_label("Grouped by the model")).to_have_value("baseline")


def test_a_large_cluster_has_pages(
    browser: Browser, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = expected(address, "/api/clusters/1")["cluster"]["images"]
    monkeypatch.setattr(catalog_clusters, "ON_A_PAGE", 8)
    with opened_page(browser) as page:
        page.goto(f"{address}/?view=clusters&cluster=1")
        pager = page.get_by_role("navigation", name="Pages of the cluster")
        expect(pager).to_contain_text(f"1–8 of {len(images)}")
        expect(pager.get_by_role("link")).to_have_text(["Farther →"])
        pager.get_by_role("link").click()
        expect(page).to_have_url(f"{address}/?view=clusters&cluster=1&offset=8")
        assert shown_images(page) == [each["image_id"] for each in images[8:16]]
        pager.get_by_role("link", name="← Nearer").click()
        expect(page).to_have_url(f"{address}/?view=clusters&cluster=1")
        page.goto(f"{address}/?view=clusters&cluster=1&offset=1000")
        expect(page.get_by_text("No image is so far from the centre.")).to_be_visible()
        expect(pager.get_by_role("link")).to_have_text(["← Nearer"])


def test_while_clusters_are_made_the_page_says_so(browser: Browser, address: str) -> None:
    with opened_page(browser) as page:
        waiting: list[Route] = []
        page.route("**/api/clusters", lambda route: waiting.append(route), times=1)  # noqa: PLW0108
        with page.expect_request("**/api/clusters"):
            page.goto(f"{address}/?view=clusters")
        told = page.get_by_text("Grouping the images; the first time takes a few seconds…")
        expect(told).to_be_visible()
        expect(page.get_by_label("Only this class")).to_be_hidden()
        waiting[0].continue_()
        expect(page.get_by_role("article").first).to_be_visible()
        expect(told).to_be_hidden()


def test_the_keyboard_walks_into_a_cluster(browser: Browser, address: str) -> None:
    with opened_page(browser) as page:
        page.goto(f"{address}/?view=clusters")
        card = page.get_by_role("link", name="Cluster 1", exact=True)
        card.focus()
        page.keyboard.press("Enter")
        expect(heading(page, "Cluster 1")).to_be_visible()
        expect(page.locator("#results")).to_be_focused()  # the focused card is gone


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("&model=no", "model: found 'no'; allowed: baseline, finetuned"),
        ("&clusters=4&cluster=9", "cluster: found 9; allowed: 1 to 4"),
    ],
)
def test_a_link_to_what_is_not_there_is_an_error_and_the_page_still_works(
    browser: Browser, address: str, path: str, error: str
) -> None:
    with opened_page(browser, refused=("/api/clusters",)) as page:
        page.goto(f"{address}/?view=clusters{path}")
        expect(page.get_by_role("alert")).to_have_text(error)
        page.get_by_role("link", name="Clusters", exact=True).click()
        expect(page.get_by_role("article").first).to_be_visible()
        expect(page.get_by_role("alert")).to_be_hidden()


def test_names_are_shown_as_text_and_where_there_are_none_the_file(
    browser: Browser, searchable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher = Searcher(searchable, ["baseline"])
    markup = "<img src=x onerror=alert(1)>"
    shown = display_names(dict.fromkeys(range(10), markup))
    monkeypatch.setattr(searcher.catalog, "_name_of_label", shown)
    with serving(build_app(lambda: searcher)) as address, opened_page(browser) as page:
        page.goto(f"{address}/?view=clusters")
        expect(page.locator(".shares .name").first).to_contain_text(markup)
        link = page.get_by_role("link", name="Cluster 1", exact=True)
        expect(link).to_have_attribute("title", re.compile(re.escape(markup)))
        expect(page.get_by_label("Grouped by the model")).to_be_hidden()  # there is one alone
    monkeypatch.setattr(searcher.catalog, "classes_of", lambda _: [])
    searcher.clusters._kept.clear()
    with serving(build_app(lambda: searcher)) as address, opened_page(browser) as page:
        page.goto(f"{address}/?view=clusters")
        first = page.get_by_role("article").first
        expect(first.locator(".shares")).to_have_count(0)
        expect(first.get_by_role("img").first).to_have_attribute("alt", re.compile(r"^\d\.jpg$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "&cluster=1"])
def test_the_clusters_fit_the_width_of_a_phone(
    browser: Browser, address: str, scheme: str, path: str
) -> None:
    with opened_page(browser, size=(360, 740), scheme=scheme) as page:
        page.goto(f"{address}/?view=clusters{path}")
        expect(page.locator(".cluster, a.tile").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        expect(page.get_by_role("link", name="Search", exact=True)).to_be_in_viewport()

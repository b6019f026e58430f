"""The search page in a real browser."""

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from app.searching.catalog import Catalog
from app.serving.current_searcher import CurrentSearcher
from app.serving.searcher import Searcher
from app.serving.server import build_app
from pipeline.data.training_record import TrainingRecord, write_record
from tests.helpers.browser import opened_browser, opened_page
from tests.helpers.clone import change_params
from tests.helpers.searchable import draw, index_again
from tests.helpers.serving import open_client, serving

MODELS = ("baseline", "finetuned")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


Tile = tuple[str, str, str, bool]


def column(page: Page, model: str) -> list[Tile]:
    """Return (image_id, score, relevant | irrelevant | nothing, trained on) of a model's tiles."""
    tiles = page.get_by_role("region", name=model).locator("a.tile").all()
    return [
        (
            tile.get_attribute("data-image") or "",
            (tile.locator(".score").text_content() or "").removeprefix(", score "),
            " ".join((tile.get_attribute("class") or "").split()[1:]),
            tile.get_by_text("trained on").is_visible(),
        )
        for tile in tiles
    ]


def expected(address: str, path: str) -> dict[str, list[Tile]]:
    marks = {True: "relevant", False: "irrelevant", None: ""}
    with open_client(address) as client:
        models = client.get(path).raise_for_status().json()["models"]
    return {
        each["model"]: [
            (
                neighbor["image_id"],
                f"{neighbor['score']:.3f}",
                marks[neighbor["relevant"]],
                neighbor["trained_on"],
            )
            for neighbor in each["neighbors"]
        ]
        for each in models
    }


def hold_next(page: Page, pattern: str) -> list[Route]:
    """Leave the next request to a URL unanswered, so that what follows is earlier; return it."""
    waiting: list[Route] = []
    page.route(pattern, lambda route: waiting.append(route), times=1)  # noqa: PLW0108
    return waiting


def require_images(page: Page) -> None:
    """Fail unless every image of the page was loaded and can be seen."""
    page.evaluate("Promise.all([...document.images].filter(i => !i.hidden).map(i => i.decode()))")


def choose(page: Page, name: str, encoded: bytes) -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": encoded})


def drop(page: Page, name: str, encoded: bytes) -> None:
    """Drag a file from outside over the page, and let it go."""
    dragged = page.evaluate_handle(
        """([name, bytes]) => {
            const dragged = new DataTransfer();
            dragged.items.add(new File([new Uint8Array(bytes)], name));
            return dragged;
        }""",
        [name, list(encoded)],
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": dragged})
    expect(page.get_by_text("Drop the photo to search with it")).to_be_visible()
    page.dispatch_event("main", "drop", {"dataTransfer": dragged})
    expect(page.get_by_text("Drop the photo to search with it")).to_be_hidden()


def test_a_whole_visit(browser: Browser, address: str, searcher: Searcher) -> None:
    with opened_page(browser, refused=("/api/search",)) as page:
        page.goto(address)
        expect(page.get_by_role("heading", name="Which images look like this one?")).to_be_visible()
        expect(page.locator("#indexed")).to_have_text("40 images · baseline, finetuned")

        page.get_by_role("button", name="Random query").click()
        expect(page.locator("a.tile")).to_have_count(24)
        first = page.url
        assert "?image=" in first
        query = page.locator("#query-caption small").text_content() or ""
        assert query in searcher.catalog.queries
        assert page.title() == f"{searcher.catalog.classes_of(query)[0]} · lookalike"
        first_search = expected(address, f"/api/search/{quote(query, safe='')}")
        for model in MODELS:
            assert column(page, model) == first_search[model]
            count = sum(mark == "relevant" for _, _, mark, _ in first_search[model])
            expect(page.get_by_role("region", name=model).locator(".relevant-count")).to_have_text(
                f"{count} of 12 relevant"
            )
        trained_on = {tile[3] for tiles in first_search.values() for tile in tiles}
        assert trained_on == {True, False}
        expect(page.get_by_role("status")).to_have_text(re.compile(r"searched in [\d.]+ m?s$"))
        require_images(page)

        clicked = first_search["finetuned"][4][0]
        page.get_by_role("region", name="finetuned").locator("a.tile").nth(4).click()
        expect(page.locator("#query-caption small")).to_have_text(clicked)
        second = expected(address, f"/api/search/{quote(clicked, safe='')}")
        assert column(page, "baseline") == second["baseline"]

        page.go_back()
        expect(page.locator("#query-caption small")).to_have_text(query)
        assert page.url == first
        assert column(page, "finetuned") == first_search["finetuned"]

        drop(page, "my own.jpg", draw("red", "disc", 77))
        expect(page.locator("#query-caption strong")).to_have_text("my own.jpg")
        expect(page.locator(".relevant, .irrelevant, .relevant-count")).to_have_count(0)
        assert len(column(page, "baseline")) == 12
        require_images(page)

        wanted = searcher.choices.classes[0]
        page.get_by_label("Only this class").fill(wanted)
        page.get_by_label("Only this class").press("Enter")
        expect(page).to_have_url(re.compile("class="))  # changes together with the tiles
        expect(page.locator("a.tile .classes").first).to_have_text(wanted)
        assert set(page.locator("a.tile .classes").all_text_contents()) == {wanted}
        page.get_by_role("button", name="Clear the filters").click()
        expect(page.locator("a.tile")).to_have_count(24)

        page.get_by_label("Only this group").select_option("square")
        expect(page).to_have_url(re.compile("group=square"))
        names = page.locator("a.tile .classes").all_text_contents()
        assert names
        assert all(name.endswith("square") for name in names)
        page.get_by_label("Neighbors of each model").select_option("6")
        expect(page.locator("a.tile")).to_have_count(12)

        before = column(page, "baseline")
        choose(page, "notes.txt", b"no image at all")
        expect(page.get_by_role("alert")).to_have_text(
            "notes.txt: not an image; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC"
        )
        assert column(page, "baseline") == before  # earlier results stay

        page.get_by_role("button", name="Random query").click()
        expect(page.get_by_role("alert")).to_be_hidden()


def test_a_shared_link_shows_the_same_search(
    browser: Browser, address: str, searcher: Searcher
) -> None:
    query = searcher.catalog.queries[1]
    link = f"/?image={quote(query, safe='')}&group=disc&crop=none&k=3"
    neighbors = expected(address, f"/api/search/{quote(query, safe='')}?group=disc&crop=none&k=3")
    with opened_page(browser) as page:
        page.goto(address + link)
        expect(page.locator("a.tile")).to_have_count(6)
        for model in MODELS:
            assert column(page, model) == neighbors[model]
        expect(page.get_by_label("Only this group")).to_have_value("disc")
        expect(page.get_by_label("whole image")).to_be_checked()
        expect(page.get_by_label("Neighbors of each model")).to_have_value("3")


def test_a_link_to_a_missing_image_is_an_error_and_the_page_still_works(
    browser: Browser, address: str
) -> None:
    with opened_page(browser, refused=("/api/search",)) as page:
        page.goto(f"{address}/?image=gone.jpg")
        expect(page.get_by_role("alert")).to_have_text(
            "image_id: found 'gone.jpg'; allowed: an image_id of the catalog"
        )
        page.goto(f"{address}/?photo=3")
        expect(page.get_by_role("alert")).to_have_text(
            "that photo is no longer in this page's memory; drop it again"
        )
        choose(page, "mine.jpg", draw("blue", "disc", 5))
        expect(page.locator("a.tile")).to_have_count(24)
        expect(page.get_by_role("alert")).to_be_hidden()


def test_the_back_button_finds_a_photo_again(browser: Browser, address: str) -> None:
    with opened_page(browser) as page:
        page.goto(address)
        choose(page, "mine.jpg", draw("blue", "disc", 5))
        expect(page.locator("#query-caption strong")).to_have_text("mine.jpg")
        page.locator("a.tile").first.click()
        expect(page.locator("#query-caption strong")).not_to_have_text("mine.jpg")
        page.go_back()
        expect(page.locator("#query-caption strong")).to_have_text("mine.jpg")
        page.go_back()
        expect(page.get_by_role("heading", name="Which images look like this one?")).to_be_visible()


def test_a_photo_of_an_earlier_visit_is_not_confused_with_another(
    browser: Browser, address: str
) -> None:
    with opened_page(browser) as page:
        page.goto(address)
        choose(page, "first.jpg", draw("blue", "disc", 5))
        expect(page.locator("#query-caption strong")).to_have_text("first.jpg")
        page.locator("a.tile").first.click()
        expect(page).to_have_url(re.compile("image="))
        page.reload()
        expect(page.locator("a.tile")).to_have_count(24)
        choose(page, "second.jpg", draw("red", "square", 6))
        expect(page.locator("#query-caption strong")).to_have_text("second.jpg")
        page.go_back()
        expect(page).to_have_url(re.compile("image="))
        page.go_back()
        expect(page.get_by_role("alert")).to_have_text(
            "that photo is no longer in this page's memory; drop it again"
        )


def test_a_click_on_a_tile_wins_over_a_random_query_that_has_not_arrived(
    browser: Browser, address: str, searcher: Searcher
) -> None:
    with opened_page(browser) as page:
        page.goto(f"{address}/?image={quote(searcher.catalog.queries[0], safe='')}")
        expect(page.locator("a.tile")).to_have_count(24)
        waiting = hold_next(page, "**/api/random-query")
        with page.expect_request("**/api/random-query"):
            page.get_by_role("button", name="Random query").click()
        tile = page.locator("a.tile").first
        chosen = tile.get_attribute("data-image") or ""
        with page.expect_event("requestfailed", lambda request: "/api/random" in request.url):
            tile.click()
        expect(page.locator("#query-caption small")).to_have_text(chosen)
        expect(page.locator("#progress")).to_be_hidden()
        expect(page.get_by_role("alert")).to_be_hidden()
    assert len(waiting) == 1


def test_a_file_of_too_many_bytes_is_not_sent(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as opened:
        opened.truncate(33 * 2**20)
    with opened_page(browser) as page:
        page.goto(address)
        expect(page.locator("#indexed")).not_to_be_empty()
        page.set_input_files("#file", huge)
        expect(page.get_by_role("alert")).to_have_text(
            "huge.jpg: found 33 MiB; allowed: at most 32 MiB; make the image smaller"
        )


def test_a_photo_that_only_the_server_can_decode_is_shown(browser: Browser, address: str) -> None:
    photo = io.BytesIO()
    Image.new("RGB", (90, 60), "orange").save(photo, "TIFF")
    with opened_page(browser) as page:
        page.goto(address)
        choose(page, "scan.tiff", photo.getvalue())
        expect(page.locator("#query-caption strong")).to_have_text("scan.tiff")
        require_images(page)


def test_the_keyboard_searches_with_a_neighbor(
    browser: Browser, address: str, searcher: Searcher
) -> None:
    with opened_page(browser) as page:
        page.goto(f"{address}/?image={quote(searcher.catalog.queries[0], safe='')}")
        tile = page.get_by_role("region", name="baseline").locator("a.tile").first
        chosen = tile.get_attribute("data-image") or ""
        tile.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#query-caption small")).to_have_text(chosen)
        expect(page.locator("#results")).to_be_focused()  # the focused tile is gone


def test_names_are_shown_as_text(browser: Browser, address: str) -> None:
    with opened_page(browser, refused=("/api/search",)) as page:
        page.goto(f"{address}/?image={quote('<img src=x onerror=alert(1)>')}")
        expect(page.get_by_role("alert")).to_contain_text("<img src=x onerror=alert(1)>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_width_of_a_phone(
    browser: Browser, address: str, searcher: Searcher, scheme: str
) -> None:
    with opened_page(browser, size=(360, 740), scheme=scheme) as page:
        page.goto(f"{address}/?image={quote(searcher.catalog.queries[0], safe='')}")
        expect(page.locator("a.tile")).to_have_count(24)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        boxes = [page.get_by_role("region", name=model).bounding_box() for model in MODELS]
        assert boxes[0]
        assert boxes[1]
        assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"]  # one below the other
        expect(page.get_by_label("Only this class")).to_be_hidden()
        page.get_by_text("Filters and options").click()
        expect(page.get_by_label("Only this class")).to_be_visible()
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(246, 247, 249)") == (scheme == "light")


def test_a_query_unlike_all_images_is_told(
    browser: Browser, address: str, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "_thresholds", {"baseline": 1.1, "finetuned": -1.1})
    with opened_page(browser) as page:
        page.goto(address)
        choose(page, "mine.jpg", draw("blue", "disc", 5))
        expect(page.locator("a.tile")).to_have_count(24)
        for model, told in (("baseline", 1), ("finetuned", 0)):
            line = page.get_by_role("region", name=model).get_by_text("Perhaps not in the catalog")
            expect(line).to_have_count(told)


def test_the_default_model_and_what_training_did_are_told(
    browser: Browser, searchable: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(searchable, project)
    query = quote(Catalog(project).queries[0], safe="")
    for record, notes in (
        (
            TrainingRecord("finetuned", "it is a test", 2, {}),
            ("before training · ", "after training"),
        ),
        (TrainingRecord("baseline", "nothing was trained", 0, {}), ("", "not trained")),
    ):
        write_record(project / "models/finetuned", record)
        app = build_app(CurrentSearcher(project, MODELS))
        with serving(app) as address, opened_page(browser) as page:
            page.goto(f"{address}/?image={query}")
            for model, note in zip(MODELS, notes, strict=True):
                region = page.get_by_role("region", name=model)
                shown = [f"default: {record.because}"] * (model == record.use)
                expect(region.locator(".default")).to_have_text(shown)
                expect(region.locator(".column-head p").first).to_have_text(
                    re.compile(rf"^{note}.*\d ms$")
                )
            trained_on = {tile[3] for model in MODELS for tile in column(page, model)}
            assert (True in trained_on) is (record.use == "finetuned")


def test_what_is_done_between_embeddings_and_results_is_told(
    browser: Browser, searchable: Path, tmp_path: Path
) -> None:
    """Where results are re-ranked, the scores below the images go up and down."""
    project = tmp_path / "project"
    shutil.copytree(searchable, project)
    steps = {"postprocess.fixed.pca": None, "postprocess.fixed.rerank": 3}
    change_params(project, {"postprocess.name": "fixed"} | steps)
    index_again(project, "finetuned")
    query = quote(Catalog(project).queries[0], safe="")
    app = build_app(CurrentSearcher(project, MODELS))
    with serving(app) as address, opened_page(browser) as page:
        page.goto(f"{address}/?image={query}")
        for model, told in (
            ("baseline", []),
            ("finetuned", ["centered, re-ranked by 3 neighbors"]),
        ):
            region = page.get_by_role("region", name=model)
            expect(region.locator(".postprocessing")).to_have_text(told)


def test_the_gallery_alone_is_a_filter(browser: Browser, address: str, searcher: Searcher) -> None:
    query = quote(searcher.catalog.queries[0], safe="")
    everything = expected(address, f"/api/search/{query}")
    gallery = expected(address, f"/api/search/{query}?gallery=true")
    assert gallery != everything
    with opened_page(browser) as page:
        page.goto(f"{address}/?image={query}")
        page.get_by_label("Only the gallery").check()
        expect(page).to_have_url(re.compile("gallery=true"))
        assert {model: column(page, model) for model in MODELS} == gallery
        page.reload()
        expect(page.get_by_label("Only the gallery")).to_be_checked()
        page.get_by_role("button", name="Clear the filters").click()
        expect(page).not_to_have_url(re.compile("gallery"))
        assert {model: column(page, model) for model in MODELS} == everything


@pytest.mark.parametrize("unanswered", ["/api/choices", "/api/search"])
def test_a_filter_is_added_to_a_search_that_is_not_done(
    browser: Browser, address: str, searcher: Searcher, unanswered: str
) -> None:
    query = quote(searcher.catalog.queries[0], safe="")
    wanted = expected(address, f"/api/search/{query}?group=square&gallery=true&k=7")
    with opened_page(browser) as page:
        waiting = hold_next(page, f"**{unanswered}**")
        with page.expect_request(f"**{unanswered}**"):
            page.goto(f"{address}/?image={query}&group=square&k=7")
        page.get_by_label("Only the gallery").check()
        expect(page).to_have_url(
            f"{address}/?image={query}&group=square&gallery=true&k=7".replace("%20", "+")
        )
        assert {model: column(page, model) for model in MODELS} == wanted
        expect(page.get_by_label("Only this group")).to_have_value("square")
        expect(page.get_by_label("Neighbors of each model")).to_have_value("7")
    assert len(waiting) == 1


def test_a_filter_is_added_to_a_random_query_that_has_not_arrived(
    browser: Browser, address: str, searcher: Searcher
) -> None:
    first = searcher.catalog.queries[0]
    with opened_page(browser) as page:
        page.goto(f"{address}/?image={quote(first, safe='')}")
        expect(page.locator("a.tile")).to_have_count(24)
        waiting = hold_next(page, "**/api/random-query")
        with page.expect_request("**/api/random-query"):
            page.get_by_role("button", name="Random query").click()
        with page.expect_request("**/api/random-query"):
            page.get_by_label("Only the gallery").check()
        expect(page).to_have_url(re.compile("gallery=true"))
        expect(page.get_by_label("Only the gallery")).to_be_checked()
        page.get_by_label("Neighbors of each model").select_option("6")
        expect(page.locator("a.tile")).to_have_count(12)
    assert len(waiting) == 1


def test_a_click_on_a_tile_keeps_a_filter_that_is_not_applied_yet(
    browser: Browser, address: str, searcher: Searcher
) -> None:
    with opened_page(browser) as page:
        page.goto(f"{address}/?image={quote(searcher.catalog.queries[0], safe='')}")
        expect(page.locator("a.tile")).to_have_count(24)
        waiting = hold_next(page, "**/api/search/**")
        with page.expect_request("**/api/search/**"):
            page.get_by_label("Only the gallery").check()
        tile = page.locator("a.tile").first
        chosen = tile.get_attribute("data-image") or ""
        tile.click()
        expect(page.locator("#query-caption small")).to_have_text(chosen)
        expect(page).to_have_url(re.compile("gallery=true"))
    assert len(waiting) == 1


def test_a_refused_filter_before_anything_is_shown_leaves_the_welcome(
    browser: Browser, address: str, searcher: Searcher
) -> None:
    with opened_page(browser, refused=("/api/search",)) as page:
        waiting = hold_next(page, "**/api/search/**")
        with page.expect_request("**/api/search/**"):
            page.goto(f"{address}/?image={quote(searcher.catalog.queries[0], safe='')}")
        page.get_by_label("Only this class").fill("no such class")
        page.get_by_label("Only this class").press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("no such class")
        expect(page.locator(".welcome")).to_be_visible()
        page.get_by_label("Only the gallery").check()  # of the image in the URL
        expect(page.locator("a.tile")).to_have_count(24)
    assert len(waiting) == 1


def test_a_wrong_image_is_corrected_in_the_overrides(
    browser: Browser, searcher: Searcher, tmp_path: Path
) -> None:
    overrides, (first, second) = tmp_path / "overrides.csv", searcher.catalog.queries[:2]
    app = build_app(lambda: searcher, overrides=overrides)
    with serving(app) as address, opened_page(browser, refused=("/api/overrides",)) as page:
        page.goto(f"{address}/?image={quote(first, safe='')}")
        written = page.locator("#wrong-status")
        page.get_by_text("Wrong image?").click()
        page.get_by_role("button", name="Leave it out").click()
        expect(written).to_have_text("written to overrides.csv; dvc repro applies it")
        page.get_by_role("button", name="Leave it out").click()
        expect(page.get_by_role("alert")).to_have_text(
            f"image_id: found '{first}', which overrides.csv has already; allowed: once; "
            "edit the file"
        )
        expect(written).to_be_empty()

        page.goto(f"{address}/?image={quote(second, safe='')}")
        page.get_by_text("Wrong image?").click()
        expect(written).to_be_empty()
        page.get_by_role("button", name="Relabel…").click()
        page.get_by_label("Its only class").fill("blue disc")
        page.get_by_role("button", name="Save").click()
        expect(written).to_have_text("written to overrides.csv; dvc repro applies it")
        assert overrides.read_text() == (
            f"image_id,action,label\n{first},drop,\n{second},relabel,blue disc\n"
        )
        choose(page, "mine.jpg", draw("blue", "disc", 5))
        expect(page.locator("#query-caption strong")).to_have_text("mine.jpg")
        expect(page.get_by_text("Wrong image?")).to_be_hidden()  # no image of the catalog


def test_a_server_for_other_machines_offers_no_correction(
    browser: Browser, address: str, searcher: Searcher
) -> None:
    with opened_page(browser) as page:
        page.goto(f"{address}/?image={quote(searcher.catalog.queries[0], safe='')}")
        expect(page.locator("a.tile")).to_have_count(24)
        expect(page.get_by_text("Wrong image?")).to_be_hidden()


def test_a_stopped_server_is_an_error(browser: Browser, searcher: Searcher) -> None:
    with opened_page(browser, refused=("/api/random",)) as page:
        with serving(build_app(lambda: searcher)) as stopped:
            page.goto(stopped)
            expect(page.locator("#indexed")).not_to_be_empty()
        page.get_by_role("button", name="Random query").click()
        expect(page.get_by_role("alert")).to_have_text(
            "the server does not answer; is `lookalike serve` still running?"
        )


def test_the_api_is_described_on_a_page_that_loads_nothing_from_other_sites(
    browser: Browser, address: str
) -> None:
    with opened_page(browser) as page:
        loaded: list[str] = []
        page.on("request", lambda request: loaded.append(request.url))
        page.goto(f"{address}/docs")
        search = page.locator("#operations-search-search_by_photo_api_search_post")
        expect(search).to_contain_text("/api/search")
        search.locator(".opblock-summary").click()
        expect(search.get_by_role("button", name="Try it out")).to_be_visible()
        assert all(url.startswith((address, "data:")) for url in loaded)


def test_a_neighbor_becomes_a_part_of_the_query_and_leaves_it_again(
    browser: Browser, address: str, searcher: Searcher
) -> None:
    query = searcher.catalog.queries[0]
    with opened_page(browser) as page:
        page.goto(f"{address}/?image={quote(query, safe='')}")
        expect(page.locator("a.tile")).to_have_count(24)
        expect(page.locator("#words")).to_be_hidden()  # no model here understands text
        tiles = column(page, "finetuned")
        region = page.get_by_role("region", name="finetuned")
        region.get_by_role("button", name="more like this").nth(1).click()
        expect(page.locator("#parts li")).to_have_text(["like✕"])
        region.get_by_role("button", name="less like this").nth(3).click()
        expect(page.locator("#parts li")).to_have_text(["like✕", "not like✕"])
        require_images(page)
        shared = parse_qs(urlsplit(page.url).query)
        assert set(shared) == {"image", "like", "unlike"}
        assert shared["image"] == [query]
        assert shared["like"] == [tiles[1][0]]
        path = f"/api/search/{quote(query, safe='')}"
        parts = urlencode({name: shared[name][0] for name in ("like", "unlike")})
        of_api = expected(address, f"{path}?{parts}")
        assert [tile[0] for tile in column(page, "baseline")] == [
            tile[0] for tile in of_api["baseline"]
        ]
        expect(page.locator(".relevant-count")).to_have_count(0)

        page.reload()
        expect(page.locator("#parts li")).to_have_text(["like✕", "not like✕"])
        page.get_by_role("button", name="remove: not like").click()
        expect(page.locator("#parts li")).to_have_text(["like✕"])
        page.get_by_role("button", name="remove: like").click()
        expect(page.locator("#parts")).to_be_hidden()
        assert column(page, "finetuned") == tiles

        region.get_by_role("button", name="more like this").first.click()
        expect(page.locator("#parts li")).to_have_count(1)
        region.locator("a.tile").first.click()  # a new query begins without parts
        expect(page.locator("#parts")).to_be_hidden()
        expect(page).to_have_url(re.compile(r"\?image=[^&]*$"))


def test_words_are_searched_on_the_page(browser: Browser, searchable_by_text: Path) -> None:
    searcher = Searcher(searchable_by_text, MODELS)
    with serving(build_app(lambda: searcher)) as address, opened_page(browser) as page:
        page.goto(address)
        page.get_by_label("Words for what you look for").fill("blue square")
        page.get_by_label("Words for what you look for").press("Enter")
        expect(page.locator("a.tile")).to_have_count(12)
        expect(page.locator("#query-words")).to_have_text("“blue square”")
        expect(page.get_by_role("status")).to_have_text(
            re.compile("; not by finetuned, for images alone$")
        )
        assert page.locator("a.tile .classes").first.text_content() == "blue square"
        assert page.title() == "blue square · lookalike"
        page.get_by_label("But not like").fill("blue disc")
        page.get_by_label("But not like").press("Enter")
        expect(page).to_have_url(re.compile(r"text=blue\+square&without=blue\+disc$"))
        choose(page, "mine.png", draw("red", "disc", 99))
        expect(page.locator("#query-caption strong")).to_have_text("mine.png")
        expect(page.get_by_label("Words for what you look for")).to_have_value("")

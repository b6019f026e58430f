"""The page: its values, its bytes, and a visit by a real browser."""

import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from pipeline.report.embedded_sheets import SHEETS, read_sheets
from pipeline.report.html_page import render_page, write_report
from pipeline.report.thumbnails import encode_atlas, thumbnail_side
from tests.helpers.browser import opened_browser
from tests.helpers.reports import (
    BASELINE,
    COLORS,
    IMAGES,
    METRICS,
    NAMES,
    TRAINING,
    small_contents,
)

PATIENCE = 300_000  # milliseconds
HOSTILE = ("<script>broken()</script>", "\"'><img src=x onerror=broken()> & é", "</script>日本")
TESTED = [row for row in range(IMAGES) if row % 4]


class Read(HTMLParser):
    """What a page holds: `values` by data-metric, its elements, and the addresses that it loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self.addresses: list[str] = []
        self.elements: list[str] = []
        self._open: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append(tag)
        self.addresses += [given[name] or "" for name in ("src", "href") if name in given]
        if given.get("data-metric"):
            self._open = given["data-metric"]
            self.values[str(self._open)] = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.values[self._open] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._open = None


def shown(values: dict[str, Any], name: str) -> str:
    """Return a value as README and page print it."""
    value = values[name]
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < 0.001:
        return f"{value:.3g}"
    bounds = [values.get(f"{name}{end}") for end in ("_low", "_high")]
    if None in bounds:
        return f"{value:.3f}"
    low, high = (f"{bound:.3f}" if abs(bound) >= 0.001 else f"{bound:.3g}" for bound in bounds)
    return f"{value:.3f} ({low}–{high})"


def test_every_value_on_the_page_is_the_one_in_metrics(tmp_path: Path) -> None:
    read = Read(render_page(small_contents(tmp_path))).values
    expected = {
        f"{model}/{name}": shown(values, name)
        for model, values in (("baseline", BASELINE), ("finetuned", METRICS), ("train", TRAINING))
        for name in values
        if not name.endswith(("_low", "_high"))
    }
    assert read == expected
    assert read["finetuned/recall_at_1"] == "0.547 (0.512–0.581)"


@pytest.mark.parametrize(("used", "other"), [("finetuned", "baseline"), ("baseline", "finetuned")])
def test_the_figures_on_top_are_those_of_the_model_that_is_used(
    tmp_path: Path, used: str, other: str
) -> None:
    contents = small_contents(tmp_path)
    values = {"baseline": BASELINE["recall_at_1"], "finetuned": METRICS["recall_at_1"]}
    page = render_page(replace(contents, record=replace(contents.record, use=used)))
    card = page[page.index('<span class="name">recall_at_1</span>') :]
    card = card[: card.index("</div>")]
    assert f'<span class="value">{values[used]:.3f}</span>' in card
    assert f'<span class="interval">{used} (' in card
    assert f"{other} {values[other]:.3f}" in card
    assert ('class="change"' in card) == (used == "finetuned")


def test_the_page_says_what_its_intervals_speak_of(tmp_path: Path) -> None:
    page = render_page(small_contents(tmp_path))
    assert "the 95% interval: how much it would differ with other classes.</p>" in page


def test_the_page_says_what_was_done_to_embeddings(tmp_path: Path) -> None:
    contents = small_contents(tmp_path)
    said = "After they were made, more was done with the embeddings."
    assert said not in render_page(contents)
    changed = replace(contents, postprocessing="baseline: nothing; finetuned: centered")
    page = render_page(changed)
    assert f"<p>{said} baseline: nothing; finetuned: centered.</p>" in page
    counts = [*contents.counts, ("plain_map", [None, 0.5])]
    page = render_page(replace(changed, counts=counts))
    assert (
        "finetuned: centered. Database augmentation, query expansion and re-ranking look at" in page
    )


def test_the_page_says_how_many_of_the_queries_were_measured(tmp_path: Path) -> None:
    contents = small_contents(tmp_path)
    for measured, said in ((contents.dataset.queries, ""), (1, " of the {:,}")):
        page = render_page(replace(contents, counts=[("queries", [measured, measured])]))
        of_all = said.format(contents.dataset.queries)
        assert f"<p>Means over {measured:,}{of_all} test queries; in brackets" in page


def test_the_page_names_the_command_for_the_paired_test(tmp_path: Path) -> None:
    page = render_page(small_contents(tmp_path))
    assert "the paired test, over the same queries, of <code>lookalike compare baseline" in page


def test_what_was_found_in_the_data_is_told_and_what_was_not_is_no_row(tmp_path: Path) -> None:
    contents = small_contents(tmp_path)
    page = render_page(contents)
    rows = re.findall('<tr><th scope="row">(.*?)</th>.*?>(.*?)</td>.*?data-finding.*?>(.*?)<', page)
    assert rows == [("exact duplicates", "2", "5"), ("blurred", "–", "1")]
    assert "<code>p00 &lt;i&gt;</code>, <code>p01 &lt;i&gt;</code></td>" in page
    healthy = render_page(replace(contents, findings=[]))
    assert "Nothing was found: no duplicates, and no image that is very small, blank" in healthy


def test_equal_runs_are_equal_bytes(tmp_path: Path) -> None:
    pages = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_report(small_contents(tmp_path / name), tmp_path / f"{name}.html")
        pages.append((tmp_path / f"{name}.html").read_bytes())
    assert pages[0] == pages[1]


def test_nothing_is_loaded_and_a_policy_forbids_it(tmp_path: Path) -> None:
    page = render_page(small_contents(tmp_path))
    read = Read(page)
    assert [url for url in read.addresses if not url.startswith(("data:", "#"))] == []
    assert not re.search(r"url\((?!data:)|@import", page[: page.index("<body>")])
    assert "default-src 'none'; img-src data: blob:;" in page


def test_names_are_text_whatever_they_hold(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "hostile").mkdir()
    plain = Read(render_page(small_contents(tmp_path / "plain")))
    page = render_page(small_contents(tmp_path / "hostile", names=HOSTILE, groups=HOSTILE))
    hostile = Read(page)
    # Groups add a word, but no element.
    assert hostile.elements.count("script") == plain.elements.count("script") == 3
    assert hostile.elements.count("img") == plain.elements.count("img")
    assert "a&amp;b &lt;script&gt;.jpg" in page
    assert "<script>broken" not in page


def test_a_name_that_is_cut_is_there_in_full(tmp_path: Path) -> None:
    long = "a name that is wider than its image"
    page = render_page(small_contents(tmp_path, names=(long, *NAMES[1:])))
    assert f'<figcaption title="{long}">{long}</figcaption>' in page


def test_no_card_is_shown_where_nothing_was_measured(tmp_path: Path) -> None:
    contents = small_contents(tmp_path)
    nothing = replace(
        contents, estimates=[], counts=[], dataset=replace(contents.dataset, queries=0)
    )
    header = render_page(nothing)
    header = header[: header.index("</header>")]
    assert 'class="tile' not in header
    told = "Nothing was measured: that takes two classes or more, and a class with two images."
    assert render_page(nothing).count(told) == 1


@pytest.mark.slow
def test_a_page_of_3000_images_takes_at_most_10_megabytes(tmp_path: Path) -> None:
    """Noise compresses worst; here it is in the thumbnails and in all four sheets."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, size=(600, 600, 3), dtype=np.uint8)
    contents = small_contents(tmp_path, images=4000)
    assert len(contents.sample.image_ids) == 3000
    for name in SHEETS:
        Image.fromarray(pixels).save(tmp_path / f"figures/{name}.png")
    side = thumbnail_side(3000)
    thumbnails = [
        Image.fromarray(pixels[y : y + side, x : x + side])
        for y, x in rng.integers(0, 600 - side, size=(3000, 2))
    ]
    noisy = replace(
        contents, atlas=encode_atlas(thumbnails), sheets=read_sheets(tmp_path / "figures")
    )
    assert len(noisy.sheets) == 4
    assert len(render_page(noisy).encode()) <= 10_000_000


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(small_contents(folder, names=(HOSTILE[1], *NAMES[1:])), folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, page_path: Path) -> Iterator[Page]:
    yield from visited(browser, page_path, width=1280)


@pytest.fixture
def phone(browser: Browser, page_path: Path) -> Iterator[Page]:
    yield from visited(browser, page_path, width=390)


def visited(browser: Browser, path: Path, *, width: int) -> Iterator[Page]:
    """Yield the drawn page; a script error or a request makes the test fail at the end."""
    context = browser.new_context(viewport={"width": width, "height": 860}, has_touch=width < 500)
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on(
        "request", lambda request: problems.append(request.url) if is_foreign(request.url) else None
    )
    page.goto(path.as_uri())
    expect(page.locator("#projection .scatterlayer .point")).to_have_count(len(TESTED))
    yield page
    context.close()
    assert problems == []


def until_shown(page: Page, point_at: Callable[[], None], *, row: str | None = None) -> None:
    """Point at an image again and again: a page that is still scrolling hides the card."""
    deadline = time.monotonic() + PATIENCE / 1000
    wanted = "#hover:visible" if row is None else f"#hover[data-row='{row}']:visible"
    while time.monotonic() < deadline:
        page.mouse.move(1, 1)
        point_at()
        try:
            page.wait_for_selector(wanted, timeout=3_000)
        except PlaywrightTimeoutError:
            continue
        return
    raise AssertionError(f"no card was shown for {row or 'an image'}")


def is_foreign(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


def choose(page: Page, name: str, value: str) -> None:
    page.locator(f"input[name={name}][value='{value}']").check()


def color_shown(page: Page) -> tuple[int, ...]:
    """Return the color in the middle of the card's image, as a screen shows it."""
    image = page.locator("#hover .thumb")
    with Image.open(io.BytesIO(image.screenshot())) as shot:
        found: tuple[int, ...] = shot.convert("RGB").getpixel((shot.width // 2, shot.height // 2))
    return found


def test_pointer_and_arrow_keys_show_an_image_and_what_it_is(page: Page) -> None:
    page.locator("#projection").scroll_into_view_if_needed()
    for row in (0, 7):
        point = page.locator("#projection .scatterlayer .point").nth(row)
        # Points are drawn class by class, in the order of the legend.
        name, place = page.evaluate(
            """(row) => {
                const drawn = document.getElementById("projection").data.flatMap(
                    (trace) => (trace.customdata ?? []).map((place) => [trace.name, place]));
                return drawn[row];
            }""",
            row,
        )
        card = page.locator("#hover")
        until_shown(page, partial(point.hover, force=True), row=str(place))
        expect(card).to_be_visible()
        expect(card.locator("b")).to_have_text(name)
        expect(card.locator("code")).to_have_text(f"p{TESTED[place]:02d} <i>")
        expected = COLORS[TESTED[place]]
        assert max(abs(a - b) for a, b in zip(color_shown(page), expected, strict=True)) < 12
    page.mouse.move(1, 1)
    expect(page.locator("#hover")).to_be_hidden()
    page.locator("#projection").focus()
    for key, place in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowUp", -1)):
        page.keyboard.press(key)
        expect(page.locator("#hover")).to_have_attribute("data-row", str(place % len(TESTED)))
    page.keyboard.press("Escape")
    expect(page.locator("#hover")).to_be_hidden()


def test_the_switches_choose_model_method_and_axes(page: Page) -> None:
    plot = page.locator("#projection")
    expect(plot).to_have_attribute("data-view", "finetuned umap 2")
    choose(page, "model", "baseline")
    choose(page, "method", "pca")
    expect(plot).to_have_attribute("data-view", "baseline pca 2")
    expect(page.locator("#projection-note")).to_have_text("40% of the variance")
    drawn = page.evaluate("document.getElementById('projection').data[0].x")
    known = page.evaluate(
        """() => {
            const { points } = JSON.parse(document.getElementById("data").textContent);
            const x = points.layouts.pca["2"].baseline[0];
            return x.filter((_, row) => points.keys[row] === 0);
        }"""
    )
    assert drawn == known
    choose(page, "method", "tsne")
    expect(page.locator("input[name=axes][value='3']")).to_be_disabled()
    expect(plot).to_have_attribute("data-view", "baseline tsne 2")
    choose(page, "method", "umap")
    # 3-D needs a browser with WebGL.
    webgl = page.evaluate("Boolean(document.createElement('canvas').getContext('webgl'))")
    solid = page.locator("input[name=axes][value='3']")
    if not webgl:
        expect(solid).to_be_disabled()
        expect(page.locator("#projection-note")).to_contain_text("3-D needs WebGL")
        return
    solid.check()
    expect(page.locator("#projection")).to_have_attribute("data-view", "baseline umap 3")
    expect(page.locator("#projection .gl-container canvas").first).to_be_visible()
    choose(page, "axes", "2")
    expect(page.locator("#projection .scatterlayer .point")).to_have_count(len(TESTED))


def test_a_name_in_the_legend_whatever_it_holds_shows_only_its_points(page: Page) -> None:
    expect(page.locator("#legend button", has_text=HOSTILE[1])).to_be_visible()
    expect(page.locator("#legend button", has_text=HOSTILE[1])).to_have_attribute(
        "title", HOSTILE[1]
    )
    button = page.locator("#legend button", has_text="jug")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.wait_for_function(
        """() => document.getElementById("projection").data.slice(0, 3)
            .filter((trace) => trace.opacity > 0.5).map((trace) => trace.name).join() === "jug" """
    )
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")


def test_the_select_above_a_graph_shows_another_of_its_views(page: Page) -> None:
    select = page.get_by_role("combobox", name="Precision over recall")
    drawn = "document.getElementById('graph-precision_recall').data[1].y.join()"
    assert page.evaluate(drawn) == "0.7,0.2"
    select.select_option("cup")
    page.wait_for_function(f"{drawn} === '0.9,0.8'")


def test_a_phone_never_scrolls_sideways_and_a_tap_shows_the_image(phone: Page) -> None:
    phone.locator("details summary").first.click()
    width = phone.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    point = phone.locator("#projection .scatterlayer .point").nth(3)
    point.scroll_into_view_if_needed()
    until_shown(phone, partial(point.tap, force=True))
    box = phone.locator("#hover").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_printed_it_has_all_its_curves_and_no_switch(page: Page) -> None:
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#controls")).to_be_hidden()
    expect(page.locator("details dl").first).to_be_visible()
    expect(page.locator("#projection-view")).to_have_text("Shown: finetuned, UMAP.")
    places = page.locator(".plot").all()
    assert len(places) > 6
    for place in places:
        outer, inner = place.bounding_box(), place.locator(".main-svg").first.bounding_box()
        assert outer
        assert inner
        assert inner["width"] == pytest.approx(outer["width"], abs=1)
        assert inner["height"] == pytest.approx(outer["height"], abs=1)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    expect(page.locator("details dl").first).to_be_hidden()

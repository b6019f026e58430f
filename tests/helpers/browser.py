"""A real Chromium that tests open pages with; an error in its console fails the test."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.helpers.serving import TIMEOUT

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No connection to other machines, no graphics card, no special rights.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """Yield this machine's headless Chromium; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed; Debian: apt-get install chromium")
    expect.set_options(timeout=TIMEOUT * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(OPTIONS), timeout=TIMEOUT * 1000
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened_page(
    browser: Browser,
    *,
    size: tuple[int, int] = (1360, 900),
    scheme: str = "light",
    refused: tuple[str, ...] = (),
) -> Iterator[Page]:
    """Yield an empty page in a new window; fail at the end if its console shows an error.

    scheme: light or dark. refused: parts of URLs that the test expects the server to refuse, whose
    errors in the console are expected.
    """
    width, height = size
    errors: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        url = message.location.get("url", "")
        expected = message.text.startswith("Failed to load resource") and any(
            part in url for part in refused
        )
        if message.type == "error" and not expected:
            errors.append(f"{message.text} ({url})")

    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(TIMEOUT * 1000)
    page = context.new_page()
    page.on("console", listen)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []

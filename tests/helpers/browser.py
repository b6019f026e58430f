"""A real Chromium that tests look at pages with; what a page complains of fails the test."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.helpers.serving import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# It asks nothing of any other machine, and needs no graphics card or rights.
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
    """Yield a headless Chromium of this machine; the test is skipped where it has none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed; Debian: apt-get install chromium")
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(OPTIONS), timeout=PATIENCE * 1000
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
    """Yield an empty page in a window of its own; it fails in the end by any complaint of it.

    scheme: light or dark. refused: requests, by a part of their address, that the test wants the
    server to refuse, which the console then tells.
    """
    width, height = size
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        where = message.location.get("url", "")
        wanted = message.text.startswith("Failed to load resource") and any(
            part in where for part in refused
        )
        if message.type == "error" and not wanted:
            complaints.append(f"{message.text} ({where})")

    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []

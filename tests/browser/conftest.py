"""Pages in a real Chromium."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.conftest import EXAMPLES, Service

SHORT = {"admm": {"rounds": 2, "epochs_per_round": 0.5}, "retrain": {"epochs": 2}}
VIEWS: dict[str, tuple[int, str]] = {"light": (1100, "light"), "dark": (1100, "dark"), "narrow": (380, "dark")}
EXPECTED = ("status of", "net::ERR_CONNECTION_RESET")  # refusals, and the cuts that tests make
Opened = Callable[[Service], Page]
expect.set_options(timeout=30_000)  # other tests run beside


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opened]:
    """Pages that fail the test on script errors, on what a security policy forbids, and on requests to other hosts."""
    pages: list[Page] = []
    wrong: list[str] = []

    def opened(service: Service) -> Page:
        page = browser.new_page(base_url=service.url, viewport={"width": 1100, "height": 900})
        page.set_default_timeout(30_000)
        tabs = page.context  # with those that the page opens
        tabs.on("weberror", lambda error: wrong.append(str(error.error)))
        tabs.on("console", lambda m: wrong.append(m.text) if m.type == "error" and not is_expected(m.text) else None)
        own = (service.url, "data:", "blob:")
        tabs.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url))
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert wrong == []


def is_expected(text: str) -> bool:
    return any(part in text for part in EXPECTED)


@pytest.fixture
def page(open_page: Opened, service: Service) -> Page:
    return open_page(service)


@pytest.fixture(scope="module")
def ids(service: Service) -> dict[str, str]:
    """The digits, uploaded."""
    model = service.upload("models", (EXAMPLES / "digits.onnx").read_bytes(), name="digits.onnx")
    data = service.upload("datasets", (EXAMPLES / "digits.npz").read_bytes(), name="digits.npz")
    return {"model_id": model, "dataset_id": data}


def until(page: Page, expression: str, seconds: float = 30) -> None:
    """Playwright's wait_for_function evaluates text in the page, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def shot(page: Page, name: str) -> None:
    """Kept where SCREENSHOTS names a folder, to be looked at."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def look(page: Page, name: str, views: Iterable[str] = tuple(VIEWS)) -> None:
    """In these views: nothing sticks out, and axe finds no serious fault; a picture of each."""
    for view in views:
        width, scheme = VIEWS[view]
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        # at once: by style alone, as a drawing follows a narrower window later
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, view)
        page.wait_for_timeout(300)
        shot(page, f"{name}-{view}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, view)
        found = Axe().run(page).response["violations"]
        serious = [
            (v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")
        ]
        assert serious == [], (name, view)
    page.set_viewport_size({"width": 1100, "height": 900})
    page.emulate_media(color_scheme="light")

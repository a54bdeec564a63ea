"""The status page in a real Chromium."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.acceptance.test_faults import LONG, begin
from tests.conftest import Service

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; CHROMIUM can name one")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def page(service: Service) -> Iterator[Page]:
    """A page that fails the test on script errors and on requests to other hosts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        opened = browser.new_page(base_url=service.url, viewport={"width": 1000, "height": 900})
        wrong: list[str] = []
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("request", lambda r: wrong.append(r.url) if not r.url.startswith((service.url, "data:")) else None)
        yield opened
        browser.close()
    assert wrong == []


def shot(page: Page, name: str) -> None:
    """Kept where SCREENSHOTS names a folder, to be looked at."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_a_job_is_watched_and_cancelled(service: Service, page: Page) -> None:
    job = begin(service, LONG)
    page.goto("/")
    page.locator(f'a[href="/jobs/{job}"]').click()
    page.locator("#rounds tr").nth(3).wait_for(timeout=30_000)
    before = page.locator("#rounds tr").count()
    page.wait_for_function(f"document.querySelectorAll('#rounds tr').length > {before}", timeout=30_000)
    assert page.locator("#state").inner_text().startswith("running: admm")
    shot(page, "running")
    page.locator("#cancel").click()
    page.locator("#state", has_text="cancelled").wait_for(timeout=10_000)
    assert not page.locator("#cancel").is_visible()


def test_a_finished_job_shows_its_result(service: Service, page: Page) -> None:
    job = begin(service, {"budget": {"pruning_rate": 20}})
    service.ended(job)
    page.goto(f"/jobs/{job}")
    page.locator("#headline", has_text="76,320 weights became 3,816").wait_for()
    assert page.locator("#rounds tr").count() == 16
    shot(page, "job")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 380, "height": 800})
    shot(page, "narrow-dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    page.set_viewport_size({"width": 1000, "height": 900})
    page.emulate_media(color_scheme="light")
    page.get_by_text("report", exact=True).click()
    page.get_by_role("heading", name="Checked on the delivered file").wait_for()
    shot(page, "report")


def test_a_failed_job_explains_itself(service: Service, page: Page) -> None:
    page.goto("/jobs/job_nowhere")
    page.locator("#problem", has_text="there is no job job_nowhere").wait_for()
    assert page.locator("#problem").is_visible()


def test_the_api_page_needs_no_other_host(page: Page) -> None:
    page.goto("/docs")
    page.locator("#operations-jobs-create_v1_jobs_post").wait_for()
    assert page.locator(".opblock").count() > 15

"""Uploads through the page that are cut: they go on by themselves, and after a reload with the same file."""

import hashlib
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.conftest import HOUSE, Service, save_npz

SLICE = 1 << 14  # small: the browser hands over the body of each request that a test may cut
SCRIPT = (HOUSE / "api/pages/static/transfer.js").read_text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two slices and a bit."""
    path = save_npz(tmp_path / "large.npz", examples=160, of=tmp_path.name)
    assert 2 * SLICE < path.stat().st_size < 3 * SLICE
    return path


@pytest.fixture
def sliced(page: Page) -> Page:
    assert "SLICE = 8 << 20" in SCRIPT
    script = SCRIPT.replace("SLICE = 8 << 20", f"SLICE = {SLICE}")
    page.route("**/static/transfer.js", lambda route: route.fulfill(body=script, content_type="text/javascript"))
    return page


def check_uploaded(page: Page, service: Service, file: Path) -> None:
    expect(page.locator("#dataset")).to_contain_text("160 examples of 1 × 6 × 6")
    row = service.http.get("/v1/datasets").json()["items"][0]
    assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert page.evaluate("Object.keys(localStorage)") == []


def test_it_goes_on_after_lost_connections(sliced: Page, service: Service, file: Path) -> None:
    offsets: list[int] = []

    def lose(route: Route) -> None:
        offsets.append(int(route.request.headers["upload-offset"]))
        route.abort("connectionreset") if len(offsets) in (1, 3, 4) else route.continue_()

    sliced.route("**/v1/transfers/*", lambda r: lose(r) if r.request.method == "PATCH" else r.continue_())
    sliced.goto("/new")
    sliced.locator("#datasets-file").set_input_files(file)
    check_uploaded(sliced, service, file)
    assert offsets == [n * SLICE for n in (0, 0, 1, 1, 1, 2)]


def test_it_goes_on_after_a_reload_with_the_same_file(sliced: Page, service: Service, file: Path) -> None:
    begun: list[str] = []
    sliced.on("request", lambda r: begun.append(r.url) if r.method == "POST" and "/transfers" in r.url else None)

    def lose(route: Route) -> None:
        is_second = route.request.headers.get("upload-offset") == str(SLICE)
        route.abort("connectionreset") if is_second else route.continue_()

    sliced.route("**/v1/transfers/*", lose)
    sliced.goto("/new")
    sliced.locator("#datasets-file").set_input_files(file)
    expect(sliced.locator("#dataset [role=status]")).to_contain_text("Waiting for the service")
    sliced.unroute("**/v1/transfers/*")
    sliced.reload()
    with sliced.expect_request(lambda r: r.method == "PATCH") as first:
        sliced.locator("#datasets-file").set_input_files(file)
    assert first.value.headers["upload-offset"] == str(SLICE)
    check_uploaded(sliced, service, file)
    assert len(begun) == 1

"""What somebody sees who watches jobs: the list, one live, its end, and several beside each other."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.test_faults import LONG
from tests.browser.conftest import SHORT, Opened, look, until
from tests.conftest import EXAMPLES, HOUSE, Service, save_npz, tiny_model

POINTS = "document.querySelector('.plot').data?.[0].x.length || 0"
ZEROS = "parseFloat(document.querySelector('#layers tbody tr:nth-child(3) td:nth-child(4)').textContent)"  # of fc1
MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def done(service: Service, ids: dict[str, str]) -> list[str]:
    """Three jobs of one model, ended."""
    plans = [
        {"budget": {"pruning_rate": 20}, **SHORT},
        {"budget": {"multiply_adds_share": 0.5}, "pattern": {"kind": "filter"}, **SHORT},
        {"budget": {"pruning_rate": 60}, **SHORT},
    ]
    names = ["kept a twentieth", "half the filters", "kept a sixtieth"]
    jobs = [service.post_job(p, name=n, labels=["beside"], **ids) for p, n in zip(plans, names, strict=True)]
    assert [service.ended(job)["status"] for job in jobs] == ["succeeded"] * 3
    return jobs


def test_a_job_is_watched_and_cancelled(page: Page, service: Service, ids: dict[str, str]) -> None:
    job = service.post_job({**LONG, "admm": {"rounds": 60, "rho": 0.001, "rho_growth": 1.15}}, name="watched", **ids)
    page.goto("/?q=watched")
    page.get_by_role("link", name="watched").click()
    expect(page.locator("#state")).to_contain_text(re.compile("admm, round [2-9]"))
    expect(page.locator("#expect")).to_contain_text("the accuracy of the weights as they are may dip")
    expect(page.locator("#phases [aria-current=step]")).to_have_text("admm")
    until(page, f"{POINTS} > 2")
    before = page.evaluate(POINTS)
    began = page.evaluate(ZEROS)
    until(page, f"{POINTS} > {before + 4} && {ZEROS} > {began + 5}")
    look(page, "running", ["narrow"])
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#about")).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    service.ended(job)
    expect(page.get_by_role("button", name="Delete")).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/")
    assert service.http.get(f"/v1/jobs/{job}").status_code == 404


def test_a_finished_job_shows_its_result(page: Page, service: Service, done: list[str]) -> None:
    page.goto(f"/jobs/{done[0]}")
    expect(page.locator("#headline")).to_contain_text("76,320 weights became 3,816")
    expect(page.locator("#numbers")).to_contain_text("packed.onnx")
    advice = service.http.get(f"/v1/jobs/{done[0]}/report").json()["next"]
    assert advice
    expect(page.locator("#next li")).to_have_count(len(advice))
    until(page, f"{POINTS} == 5")
    page.get_by_text("The same as a table").click()
    assert page.locator("#rounds tr").count() == 5
    look(page, "job")


def test_the_report_is_a_page_and_data_at_one_address(page: Page, service: Service, done: list[str]) -> None:
    """Browsers keep what is old for long: neither may be taken for the other."""
    for file in service.http.get(f"/v1/jobs/{done[1]}/artifacts").json()["items"]:
        os.utime(next(service.folder.rglob(file["sha256"])), (1e9, 1e9))
    page.goto(f"/jobs/{done[1]}")
    expect(page.locator("#headline")).to_contain_text("weights became")
    with page.context.expect_page() as tab:
        page.get_by_role("link", name="Report", exact=True).click()
    expect(tab.value.get_by_role("heading", name="Pruning report")).to_be_visible()
    page.goto(f"/jobs/{done[1]}")
    expect(page.locator("#next li").first).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()


def test_a_failed_job_explains_itself(page: Page, service: Service, ids: dict[str, str]) -> None:
    job = service.post_job({"budget": {"pruning_rate": 5}, "train": {"device": "cuda"}}, **ids)
    if service.ended(job)["status"] == "succeeded":
        pytest.skip("this machine has CUDA: the job that was to fail did not")
    page.goto(f"/jobs/{job}")
    expect(page.get_by_role("alert").filter(has_text="no CUDA device; use auto or cpu")).to_be_visible()
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    look(page, "failed", ["narrow"])
    page.get_by_role("link", name="Again, with changes").click()
    page.wait_for_url(f"**/new?from={job}")


def test_a_job_that_is_not_there(page: Page) -> None:
    page.goto("/jobs/job_nowhere")
    expect(page.locator("#problem")).to_have_text("there is no job job_nowhere")


def test_the_list_is_searched_and_paged(page: Page, service: Service, done: list[str], ids: dict[str, str]) -> None:
    page.goto("/")
    page.get_by_label("Search").fill("TWENTIETH")
    expect(page.locator("#jobs tr")).to_have_count(1)
    expect(page.locator("#jobs tr")).to_contain_text("20x")
    expect(page.locator("#jobs tr")).to_contain_text(re.compile(r"−?\d\.\d\d pt"))
    assert page.url.endswith("?q=TWENTIETH")
    page.get_by_label("Search").fill("no such job")
    expect(page.locator("#empty")).to_contain_text("Nothing matches.")
    page.goto("/?label=beside")
    expect(page.locator("#jobs tr")).to_have_count(3)
    page.get_by_label("Status").select_option("failed")
    expect(page.locator("#jobs tr")).to_have_count(0)
    for _ in range(60):
        job = service.post_job({"budget": {"pruning_rate": 2}}, labels=["many"], **ids)
        service.http.post(f"/v1/jobs/{job}/cancel")
    page.goto("/?label=many")
    expect(page.locator("#jobs tr")).to_have_count(50)
    page.get_by_role("button", name="Older").click()
    expect(page.locator("#jobs tr")).to_have_count(10)
    page.get_by_role("button", name="Newer").click()
    expect(page.locator("#jobs tr")).to_have_count(50)
    page.goto("/?label=beside")
    expect(page.locator("#jobs tr")).to_have_count(3)
    look(page, "jobs")


def test_jobs_beside_each_other(page: Page, done: list[str], ids: dict[str, str]) -> None:
    page.goto(f"/compare?model={ids['model_id']}&jobs={done[0]}")
    row = page.locator("#jobs tr", has_text="half the filters")
    expect(row).to_contain_text("speed")
    expect(page.locator("#jobs tr", has_text="kept a sixtieth")).to_contain_text("size")
    until(page, "document.querySelectorAll('.plot .scatterlayer').length == 2")
    assert page.evaluate("document.querySelector('.plot').data[2].x[0]") > 300_000  # the dense file
    for box in page.locator("#jobs input").all():
        box.set_checked(False)
    expect(page.locator("#layers")).to_contain_text("Choose jobs")
    row.get_by_role("checkbox").check()
    page.locator("#jobs tr", has_text="kept a sixtieth").get_by_role("checkbox").check()
    expect(page.locator("#layers thead th")).to_have_count(4)
    expect(page.locator("#layers tbody tr", has_text="fc1")).to_contain_text("65,536")
    look(page, "compare")


def test_jobs_on_other_examples_are_kept_apart(
    page: Page, service: Service, done: list[str], ids: dict, tmp_path: Path
) -> None:
    digits = np.load(EXAMPLES / "digits.npz")
    np.savez(tmp_path / "less.npz", **{name: values[:200] for name, values in digits.items()})
    less = service.upload("datasets", (tmp_path / "less.npz").read_bytes(), name="less.npz")
    job = service.post_job({"budget": {"pruning_rate": 3}, **SHORT}, name="on less", **{**ids, "dataset_id": less})
    assert service.ended(job)["status"] == "succeeded"
    page.goto(f"/compare?model={ids['model_id']}")
    expect(page.locator("#jobs tr")).to_have_count(1)  # the newest is on other examples than the three before
    page.get_by_label("Data set").select_option(ids["dataset_id"])
    expect(page.locator("#jobs tr", has_text="kept a sixtieth")).to_have_count(1)
    expect(page.locator("#jobs tr", has_text="on less")).to_have_count(0)
    page.reload()
    expect(page.locator("#jobs tr", has_text="kept a sixtieth")).to_have_count(1)


def test_models_and_data_sets_say_what_uses_them(page: Page, service: Service, done: list[str], ids: dict) -> None:
    page.goto("/models")
    used = page.locator("#rows tr", has_text=ids["model_id"])
    assert used.get_by_role("button").is_disabled() and int(used.get_by_role("link", name="job").inner_text()[:-5]) >= 3
    look(page, "models")
    name = service.http.get(f"/v1/models/{ids['model_id']}").json()["name"]  # as it was first uploaded
    used.get_by_role("link", name=name).click()
    expect(page.get_by_role("row", name="conv2")).to_contain_text("589,824")
    look(page, "model")
    free = service.upload("models", tiny_model(classes=7).SerializeToString(), name="free.onnx")
    page.goto("/models")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete free.onnx").click()
    expect(page.locator("#rows")).not_to_contain_text("free.onnx")
    assert service.http.get(f"/v1/models/{free}").status_code == 404
    page.goto("/datasets")
    expect(page.locator("#rows tr", has_text=ids["dataset_id"])).to_contain_text("360 test")
    look(page, "datasets")


def test_pages_that_draw_nothing_load_nothing_to_draw(page: Page, service: Service, done: list[str]) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ("/", "/new", "/models", "/datasets"):
        page.goto(path)
        page.wait_for_load_state("networkidle") if path == "/new" else page.wait_for_timeout(500)
    assert not any("plotly" in url for url in asked)
    with page.expect_response("**/static/plotly-*.js") as answer:
        page.goto(f"/jobs/{done[0]}")
    sent = answer.value.headers
    assert sent["content-encoding"] == "gzip" and int(sent["content-length"]) < 1_700_000
    assert "immutable" in sent["cache-control"]
    style = service.http.get("/static/secateur.css")
    again = service.http.get("/static/secateur.css", headers={"If-None-Match": style.headers["etag"]})
    assert (style.status_code, again.status_code, again.content) == (200, 304, b"")
    assert service.http.get("/static/nothing.js").status_code == 404
    own = sum(file.stat().st_size for file in (HOUSE / "api/pages/static").iterdir())
    assert own < MOST_BYTES


def test_a_key_is_asked_for_and_carried(open_page: Opened, tmp_path: Path) -> None:
    locked = Service(tmp_path / "data", auth="true").start()
    try:
        page = open_page(locked)
        page.goto("/models")
        page.get_by_label("This service asks for an API key").wait_for()
        look(page, "key", ["narrow"])
        key = locked.new_key("anna")
        page.get_by_label("This service asks for an API key").fill(key)
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#empty")).to_contain_text("No models yet.")
        page.goto("/new")
        file = tmp_path / "tiny.onnx"
        file.write_bytes(tiny_model().SerializeToString())
        page.locator("#models-file").set_input_files(file)
        expect(page.locator("#model")).to_contain_text("ready")
        page.goto("/models")
        with page.expect_download() as saved:
            page.get_by_role("link", name="Download").click()
        assert saved.value.path().read_bytes() == file.read_bytes()
        locked.http.headers["Authorization"] = f"Bearer {key}"
        model = locked.http.get("/v1/models").json()["items"][0]["id"]
        data = locked.upload("datasets", save_npz(tmp_path / "data.npz").read_bytes())
        job = locked.post_job({"budget": {"pruning_rate": 2}, **SHORT}, model_id=model, dataset_id=data)
        assert locked.ended(job)["status"] == "succeeded"
        page.goto(f"/jobs/{job}")
        with page.context.expect_page() as tab:
            page.get_by_role("link", name="Report", exact=True).click()
        expect(tab.value.get_by_role("heading", name="Pruning report")).to_be_visible()
        _look_with_a_key_that_only_reads(open_page(locked), locked, file)
    finally:
        assert locked.stop() == 0


def _look_with_a_key_that_only_reads(page: Page, locked: Service, file: Path) -> None:
    reader = locked.new_key("anna", "--scope", "read")
    page.goto("/")
    page.get_by_label("This service asks for an API key").fill(reader)
    page.get_by_role("button", name="Use it").click()
    page.locator("#jobs tr").get_by_role("link").first.click()
    expect(page.locator("#headline")).to_contain_text("weights became")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    needs = "this needs a key with the scope write; this key has the scope read"
    expect(page.locator("#problem")).to_have_text(needs)
    page.goto("/new")
    page.locator("#models-file").set_input_files(file)
    expect(page.locator("#model")).to_contain_text(needs)


def test_the_documentation_runs_under_its_policy(page: Page) -> None:
    page.goto("/docs")
    page.get_by_text("/v1/quotas/{owner}").first.wait_for()
    answer = page.goto("/healthz")
    assert answer is not None and answer.headers["x-content-type-options"] == "nosniff"


def test_a_delivered_page_runs_no_script(browser: Browser, service: Service, done: list[str]) -> None:
    """Even where it had one: it is made of what was uploaded."""
    report = next(
        f for f in service.http.get(f"/v1/jobs/{done[1]}/artifacts").json()["items"] if f["name"] == "report.html"
    )
    stored = next(service.folder.rglob(report["sha256"]))
    kept, tab = stored.read_bytes(), browser.new_page()
    try:
        wrong = b"<script>document.title = 'ran'</script><img src=x onerror=document.title='ran'>"
        stored.write_bytes(kept[: -len(wrong)] + wrong)  # as many bytes as the row says
        with tab.expect_console_message(lambda message: "script" in message.text.lower()):
            tab.goto(f"{service.url}/v1/jobs/{done[1]}/report")
        assert tab.evaluate("window.origin") == "null" and tab.title() != "ran"
    finally:
        tab.close()
        stored.write_bytes(kept)

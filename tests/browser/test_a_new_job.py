"""From two files to a pruned one, through the page alone."""

import base64
import hashlib
import json
from pathlib import Path

import onnx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SHORT, look, until
from tests.conftest import EXAMPLES, Service

DROP = """([target, name, content]) => {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0)), carried = new DataTransfer();
    carried.items.add(new File([bytes], name));
    document.querySelector(target).dispatchEvent(new DragEvent("drop", {dataTransfer: carried, bubbles: true}));
}"""


def drop(page: Page, target: str, file: Path) -> None:
    content = base64.b64encode(file.read_bytes()).decode()
    page.evaluate(DROP, [target, file.name, content])


def plan_of(page: Page) -> dict:
    return json.loads(page.get_by_label("Plan as JSON").input_value())


def test_upload_to_download(page: Page, service: Service, tmp_path: Path) -> None:
    page.goto("/")
    page.get_by_role("link", name="New job").first.click()
    expect(page.get_by_text("Still missing: a model and a data set.")).to_be_visible()
    assert page.get_by_role("button", name="Prune").is_disabled()
    page.locator("#model .drop").wait_for()
    drop(page, "#model .drop", EXAMPLES / "digits.onnx")
    page.get_by_text("What was found in it").click()
    expect(page.get_by_role("row", name="conv2")).to_contain_text("589,824")
    page.locator("#datasets-file").set_input_files(EXAMPLES / "make_digits.py")
    expect(page.locator("#dataset [role=alert]")).to_be_visible()
    page.locator("#datasets-file").set_input_files(EXAMPLES / "digits.npz")
    expect(page.locator("#dataset")).to_contain_text("360 examples of 1 × 8 × 8")
    page.locator("#goal-smaller ~ input").fill("20")
    assert plan_of(page) == {"budget": {"pruning_rate": 20}}
    page.get_by_text("All fields").click()
    page.get_by_role("group", name="Admm").get_by_label("Rounds").fill("2")
    page.get_by_role("group", name="Retrain").get_by_label("Epochs", exact=True).fill("2")
    page.get_by_role("group", name="Deliver").get_by_label("Seconds").fill("0.2")
    written = {"budget": {"pruning_rate": 20}, "admm": {"rounds": 2}, "retrain": {"epochs": 2}}
    assert plan_of(page) == {**written, "deliver": {"seconds": 0.2}}
    page.get_by_label("Name", exact=True).fill("through the page")
    expect(page.locator("#curl")).to_contain_text('"pruning_rate":20')
    expect(page.locator("#verdict")).to_contain_text("The plan fits this model and this data set.")
    look(page, "new")
    page.get_by_role("button", name="Prune").click()
    page.wait_for_url("**/jobs/job_*")
    expect(page.locator("#about")).to_contain_text("succeeded", timeout=90_000)
    expect(page.locator("#headline")).to_contain_text("76,320 weights became 3,816")
    with page.expect_download() as saved:
        page.get_by_role("link", name="pruned.onnx").click()
    file = tmp_path / "pruned.onnx"
    saved.value.save_as(file)
    onnx.checker.check_model(onnx.load(file))
    job = page.url.rpartition("/")[2]
    (row,) = [f for f in service.http.get(f"/v1/jobs/{job}/artifacts").json()["items"] if f["name"] == "pruned.onnx"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]
    posted = service.http.get(f"/v1/jobs/{job}").json()
    assert (posted["name"], posted["plan"]["retrain"]["epochs"]) == ("through the page", 2)
    with page.context.expect_page() as tab:
        page.get_by_role("link", name="Report", exact=True).click()
    expect(tab.value.get_by_role("heading", name="Pruning report")).to_be_visible()
    tab.value.close()
    page.goto("about:blank")  # where it comes from it is sandboxed, also from axe
    page.set_content(service.http.get(f"/v1/jobs/{job}/report", headers={"Accept": "text/html"}).text)
    look(page, "report")


@pytest.mark.parametrize(
    ("goal", "value", "plan"),
    [
        ("faster", "4", {"budget": {"multiply_adds_share": 0.25}, "pattern": {"kind": "filter"}}),
        ("drop", "0.5", {"budget": {"max_accuracy_drop": 0.005}}),
        ("bytes", "12.5", {"budget": {"bytes": 12500}}),
        ("zeros", "95", {"budget": {"sparsity": 0.95}}),
    ],
)
def test_goals_in_the_users_words(page: Page, ids: dict[str, str], goal: str, value: str, plan: dict) -> None:
    page.goto(f"/new?model={ids['model_id']}&dataset={ids['dataset_id']}")
    page.locator(f"#goal-{goal} ~ input").fill(value)
    assert plan_of(page) == plan
    expect(page.locator("#verdict")).to_contain_text("The plan fits")
    page.locator("#goal-smaller").check()
    assert plan_of(page) == {"budget": {"pruning_rate": 10}}


def test_every_field_of_the_schema_has_its_place_and_its_help(page: Page, service: Service, ids: dict) -> None:
    page.goto(f"/new?model={ids['model_id']}&dataset={ids['dataset_id']}")
    page.get_by_text("All fields").click()
    expect(page.locator("#f-admm-rounds")).to_be_visible()
    schema = service.http.get("/v1/methods").json()["plan"]
    for part in ("Admm", "Retrain", "Train", "Deliver", "Distill"):
        for name, field in schema["$defs"][part]["properties"].items():
            control = page.locator(f"#f-{part.lower()}-{name}")
            assert control.count() == 1, (part, name)
            assert field["description"] in page.locator(f"#f-{part.lower()}-{name}-help").inner_text()
    page.get_by_label("Pattern").first.select_option("block")
    page.get_by_label("Rows").fill("8")
    page.get_by_role("button", name="Add to layers").click()
    page.get_by_role("group", name="Layers 1").get_by_label("Match").fill("conv1")
    page.get_by_role("group", name="Layers 1").get_by_label("Exclude").check()
    quantize = page.get_by_role("group", name="Quantize")
    quantize.get_by_label("Use it").check()
    quantize.get_by_label("Bits", exact=True).fill("4")
    page.get_by_label("Method", exact=True).select_option("gradual")
    assert page.locator("#f-admm-rounds").count() == 0 and page.locator("#f-gradual-units").count() == 1
    assert plan_of(page) == {
        "budget": {"pruning_rate": 10},
        "pattern": {"kind": "block", "rows": 8},
        "layers": [{"match": "conv1", "exclude": True}],
        "quantize": {"bits": 4},
        "method": "gradual",
    }
    expect(page.locator("#verdict")).to_contain_text("conv1 stays dense")
    look(page, "new-fields", ["narrow"])


def test_what_is_wrong_is_said_where_it_is(page: Page, ids: dict[str, str]) -> None:
    page.goto(f"/new?model={ids['model_id']}&dataset={ids['dataset_id']}")
    expect(page.locator("#verdict")).to_contain_text("The plan fits")
    page.get_by_text("All fields").click()
    page.locator("#f-admm-rounds").fill("0")
    expect(page.locator("#f-admm-rounds-wrong")).to_contain_text("greater than or equal to 1")
    assert page.get_by_role("button", name="Prune").is_disabled()
    page.get_by_label("Plan as JSON").fill('{"budget": {"pruning_rate": 100000}}')
    expect(page.locator("#verdict")).to_contain_text("ask for a pruning rate of at most")
    page.get_by_label("Plan as JSON").fill('{"budget": {"pruning_rate": 3}, "pattern": {"kind": "foo"}}')
    expect(page.locator("#verdict")).to_contain_text("pattern: must be one of 'unstructured'")
    expect(page.get_by_role("button", name="Prune")).to_be_disabled()
    page.get_by_label("Plan as JSON").fill('{"budget": ')
    expect(page.locator("#verdict")).to_contain_text("This is no plan")
    page.get_by_label("Plan as JSON").fill('{"budget": {"pruning_rate": 5}}')
    expect(page.get_by_role("button", name="Prune")).to_be_enabled()
    assert page.locator("#goal-smaller ~ input").input_value() == "5"


def test_back_finds_what_was_filled_in(page: Page, ids: dict[str, str]) -> None:
    page.goto(f"/new?model={ids['model_id']}")
    page.locator("#datasets-there").select_option(ids["dataset_id"])
    page.locator("#goal-faster ~ input").fill("4")
    page.get_by_label("Name", exact=True).fill("to be kept")
    expect(page.locator("#verdict")).to_contain_text("The plan fits")
    until(page, "history.state?.name === 'to be kept'")
    page.get_by_role("link", name="Models", exact=True).click()
    page.wait_for_url("**/models")
    page.go_back()
    expect(page.locator("#verdict")).to_contain_text("The plan fits")
    assert plan_of(page) == {"budget": {"multiply_adds_share": 0.25}, "pattern": {"kind": "filter"}}
    assert page.get_by_label("Name", exact=True).input_value() == "to be kept"
    expect(page.get_by_role("button", name="Prune")).to_be_enabled()


def test_a_file_that_is_no_model_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    page.goto("/new")
    wrong = tmp_path / "cat.onnx"
    wrong.write_text("this is no model")
    page.locator("#models-file").set_input_files(wrong)
    expect(page.locator("#model [role=alert]")).to_contain_text("ONNX")
    assert page.get_by_role("button", name="Prune").is_disabled()
    look(page, "refused", ["narrow"])


def test_by_keyboard_alone(page: Page, ids: dict[str, str]) -> None:
    page.goto(f"/new?model={ids['model_id']}&dataset={ids['dataset_id']}")
    expect(page.get_by_role("button", name="Prune")).to_be_enabled()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#goal-smaller").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#goal-faster").is_checked() and "multiply_adds_share" in plan_of(page)["budget"]
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "submit"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"


def test_again_with_changes(page: Page, service: Service, ids: dict[str, str]) -> None:
    plan = {"budget": {"pruning_rate": 30}, "pattern": {"kind": "column"}, **SHORT}
    job = service.post_job({**plan, "train": {"device": "cuda"}}, **ids)
    page.goto(f"/new?from={job}")
    expect(page.locator("#verdict")).to_contain_text("The plan fits")
    short = {"seconds": 0.2}
    default = {"rounds": 2}  # half an epoch a round is the default
    assert plan_of(page) == {**plan, "admm": default, "train": {"device": "cuda"}, "deliver": short}

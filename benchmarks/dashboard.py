"""The first view of the list of jobs, with 10,000 jobs in the database: from the click to rows on the screen."""

import os
import shutil
import statistics
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.results import HOUSE, running_service, save

JOBS, ROWS, VISITS = 10_000, 50, 15
STATIC = HOUSE / "api" / "pages" / "static"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WATCH = """
new MutationObserver((_, me) => {
  if (document.querySelectorAll("#jobs tr").length < ROWS) return;
  me.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.seen = performance.now(); }));
}).observe(document, {childList: true, subtree: true});
""".replace("ROWS", str(ROWS))


def main() -> None:
    values: dict[str, object] = {}
    with running_service() as (url, _, folder), sync_playwright() as playwright:
        fill(folder)
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        for name, where in {
            "first view": "/",
            "one status": "/?status=failed",
            "search": "/?q=trial 77",
            "page 100 of 200": f"/?cursor=job_{JOBS // 2:024d}",
        }.items():
            taken = [visit(browser, url, where) for _ in range(VISITS)]
            values[f"{name}, ms (median)"] = round(statistics.median(taken))
            values[f"{name}, ms (slowest of {VISITS})"] = round(max(taken))
        browser.close()
    values["own script and style, kB"] = round(sum(f.stat().st_size for f in STATIC.iterdir()) / 1e3, 1)
    save("dashboard", values)


def fill(folder: Path) -> None:
    """Jobs that have ended, straight into the service's database."""
    os.environ["SECATEUR_DATA_DIR"] = str(folder)
    from store.database import writing
    from store.tables import Dataset, Job, Model

    upload = {"owner": "local", "bytes": 1, "status": "ready", "problems": []}
    plan = {"method": "direct", "budget": {"pruning_rate": 20.0}, "pattern": {"kind": "unstructured"}}
    result = {
        **{"headline": "76,320 weights became 3,816", "goal_met": True, "metric": "top1", "drop": 0.0044},
        **{"accuracy_dense": 0.9944, "accuracy_pruned": 0.99, "pruning_rate": 20.0, "weights_total": 76_320},
        **{"weights_kept": 3816, "bytes_dense": 307_806, "bytes_pruned": 263_877, "bytes_packed": 17_756},
        **{"dense_ms": 0.05, "pruned_ms": 0.04, "speedup": 1.2, "spread": 0.1},
    }
    with writing() as session:
        session.add(Model(id="mdl_1", name="digits.onnx", sha256="0", analysis={}, **upload))
        reading = {"format": "npz", "preprocess": {}, "reading": "", "summary": {}}
        session.add(Dataset(id="dat_1", name="digits.npz", sha256="1", **upload, **reading))
        session.flush()
        for i in range(JOBS):
            status = ("succeeded", "failed", "cancelled")[i % 3]
            more = {"result": result} if status == "succeeded" else {}
            job = {"id": f"job_{i:024d}", "name": f"trial {i}", "owner": "local", "status": status, **more}
            session.add(Job(**job, model_id="mdl_1", dataset_id="dat_1", plan=plan, progress=1.0, labels="[]"))


def visit(browser: Browser, url: str, path: str) -> float:
    """Milliseconds until the rows are drawn, in a browser that has nothing of the page yet."""
    context = browser.new_context(base_url=url)
    page = context.new_page()
    page.add_init_script(WATCH)
    page.goto(path)
    page.wait_for_function("window.seen")
    taken = page.evaluate("window.seen")
    context.close()
    return float(taken)


if __name__ == "__main__":
    main()

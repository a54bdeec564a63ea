"""The client: the generated half is that of the other, and what it repeats of the service is the same there."""

import subprocess
import sys
import time
from pathlib import Path

from secateur import plans, report

from pruning.plan import Budget
from pruning.report import METRICS
from tests.conftest import HOUSE

CLIENT = HOUSE / "client"


def test_the_synchronous_half_is_generated_from_the_other(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(CLIENT / "generate.py"), str(tmp_path)], check=True)
    made = {p.name: p.read_text() for p in tmp_path.glob("*.py")}
    kept = {p.name: p.read_text() for p in (CLIENT / "secateur/_sync").glob("*.py")}
    assert set(made) == {p.name for p in (CLIENT / "secateur/_async").glob("*.py")}
    assert made == kept, "run python client/generate.py"


def test_metrics_and_budgets_are_those_of_the_service() -> None:
    assert report.METRICS == METRICS
    assert set(plans.BUDGETS.values()) == set(Budget.model_fields)


def test_it_starts_without_anything_heavy() -> None:
    heavy = {"torch", "numpy", "IPython", "typer", "pruning", "store"}
    code = f"import sys, secateur; print(sorted({heavy} & set(sys.modules)))"
    start = time.monotonic()
    said = subprocess.run([sys.executable, "-c", code], cwd=CLIENT, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
    assert time.monotonic() - start < 4  # 0.5 s on an idle machine; CI is not idle

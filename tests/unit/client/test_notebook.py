"""Jobs in notebooks."""

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from secateur import Report

from tests.unit.client.service import JOB, METRICS, REPORT, Clock, Scripted


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    made = InteractiveShell.instance(history_load_length=0)
    made.history_manager.enabled = False  # type: ignore[union-attr]
    yield made
    InteractiveShell.clear_instance()


@pytest.fixture
def script() -> Scripted:
    done = JOB | {"status": "succeeded", "progress": 1.0}
    scripted = Scripted().on("GET", "/v1/jobs/job_1", JOB, JOB, JOB | {"progress": 0.5}, done)
    return scripted.on("GET", "/v1/jobs/job_1/metrics", METRICS).on("GET", "/v1/jobs/job_1/report", REPORT)


def test_waiting_shows_one_table_that_is_written_over(shell: InteractiveShell, script: Scripted, slept: Clock) -> None:
    with capture_output() as captured:
        script.client().job("job_1").wait()
    shown = captured.outputs
    pages = [o.data["text/html"] for o in shown]
    assert len(pages) == 3 and [bool(o.update) for o in shown] == [False, True, True]
    assert len({o.transient["display_id"] for o in shown}) == 1
    assert "value='0.250'" in pages[0] and "top-1 50.00 %" in pages[0] and "admm, round 3, 25%" in pages[0]
    assert "100 weights became &lt;5&gt;" in pages[2] and "40.0x" in pages[2]
    assert all("&lt;b&gt;digits" in page and "<b>digits" not in page for page in pages)


def test_nothing_is_shown_elsewhere(script: Scripted, slept: Clock, capsys) -> None:
    script.client().job("job_1").wait()
    assert capsys.readouterr() == ("", "")


def test_a_report_is_a_mapping_that_shows_itself() -> None:
    report = Report(REPORT)
    assert report["headline"] == report.headline and dict(report) == REPORT
    assert "<th>before</th>" in report._repr_html_() and "&lt;5&gt;" in report._repr_html_()

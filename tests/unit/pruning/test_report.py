"""Reports that were stored before can be read and shown; what is new is shown where it is there."""

from typing import Any

import pytest

from pruning.report import Loading, Memory, PackedReport, Report
from pruning.report_page import render

ROW = {
    "runtime": "onnxruntime 1.23.0",
    "provider": "CPUExecutionProvider",
    "threads": 1,
    "batch": 1,
    "dense_ms": 0.25,
    "pruned_ms": 0.125,
    "speedup": 2.0,
    "spread": 0.1,
}
OLD: dict[str, Any] = {  # as version 0.1 wrote it
    "headline": "100 weights became 10 (10.0x)",
    "goal_met": True,
    "accuracy": {"metric": "top1", "dense": 0.9, "pruned": 0.89, "drop": 0.01, "examples": 360, "split": "test"},
    "compression": {
        "weights_total": 100,
        "weights_kept": 10,
        "pruning_rate": 10.0,
        "sparsity": 0.9,
        "multiply_adds": {"dense": 1000, "pruned": 100},
        "value_bits": 320,
        "bytes": {"dense": 4321, "pruned": 3210, "pruned_gzip": 987, "packed": None},
    },
    "latency": ROW,
    "layers": [
        {"name": "fc", "kind": "dense", "weights": 100, "kept": 10, "sparsity": 0.9, "bits": 32, "filters_removed": 0}
    ],
    "convergence": {"rounds": 2, "primal": 0.1, "dual": 0.1, "ended": "converged"},
    "search": [],
    "checks": {"opens": True, "checker": True, "agrees_max_abs": 1e-6, "zeros_counted": 90},
    "notes": ["a note"],
    "manifest": {
        "model_sha256": "0" * 64,
        "dataset_sha256": "0" * 64,
        "plan": {"budget": {"pruning_rate": 10}},
        "preprocess": {},
        "batch_size": 64,
        "seed": 0,
        "versions": {},
        "device": "cpu",
        "seconds": 1.0,
    },
}


def test_an_old_report_is_read_and_shown():
    report = Report.model_validate(OLD)
    assert report.latencies == () and report.runtimes == () and report.packed is None
    page = render(report)
    assert "4,321" in page and "987" in page and "2.00x" in page and "CPU, 1 thread" in page
    assert "Packed" not in page and "None" not in page and "Which runtimes gain" not in page


@pytest.fixture
def full() -> Report:
    rows = [ROW | {"packed_ms": 0.126, "runs": 900}, ROW | {"threads": 4, "batch": 32, "speedup": 0.4}]
    rows.append(ROW | {"provider": "CUDAExecutionProvider", "spread": 0.9})
    new = {
        "latencies": rows,
        "loading": Loading(dense_ms=3, pruned_ms=2, packed_ms=1234.5),
        "memory": Memory(dense=11_000_000, pruned=9_900_000, packed=9_800_000),
        "packed": PackedReport(bytes=777, exact=True, largest_change=0, agrees_max_abs=0, accuracy=0.885),
        "delivered": [{"layer": "conv<1>", "form": "gathered", "dense_ms": 0.2, "chosen_ms": 0.1}],
        "runtimes": ["some runtimes gain"],
    }
    sizes = OLD["compression"]["bytes"] | {"packed": 777, "pruned_zstd": 955, "dense_gzip": 4000, "dense_zstd": 3999}
    return Report.model_validate(OLD | new | {"compression": OLD["compression"] | {"bytes": sizes}})


def test_all_that_was_measured_is_shown(full: Report):
    assert Report.model_validate_json(full.model_dump_json()) == full
    page = render(full)
    for text in (
        "777",
        "955",
        "3,999",
        "88.50%",
        "9.9 MB",
        "1,234",
        "packed 0.126",
        "CPU, 4 threads",
        "CUDA, 1 thread",
    ):
        assert text in page, text
    assert "Some runtimes gain." in page and "bit by bit" in page
    assert "conv&lt;1&gt;" in page and "gathered" in page


def test_only_rows_that_are_sure_are_called_faster_or_slower(full: Report):
    page = render(full)
    assert page.count('class="faster"') == 1 and page.count('class="slower"') == 1
    assert "~2.00x" in page  # half of its calls differ by more than half


def test_memory_that_was_not_measured_is_said_to_be_so(full: Report):
    page = render(full.model_copy(update={"memory": Memory()}))
    assert "could not be measured on this machine" in page and "Memory to load" not in page

"""Reports that were stored before can be read and shown; what is new is shown where it is there."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from pruning.report import (
    Accuracy,
    Changed,
    ClassReport,
    Confusion,
    Interval,
    Loading,
    Memory,
    PackedReport,
    Report,
    Round,
)
from pruning.report_page import between, change_of, movers, render, tint
from pruning.result import Result

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
    assert "95 %" not in page and 'class="chart"' not in page and 'class="command"' not in page


def test_pruned_weights_that_are_not_even_zeros_are_said_to_have_left():
    said = "The other 60 that were pruned are no longer in the file"
    checks = OLD["checks"] | {"zeros_counted": 30}
    layer = OLD["layers"][0] | {"stored": 40}
    assert said in render(Report.model_validate(OLD | {"checks": checks, "layers": [layer]}))
    assert "The other" not in render(Report.model_validate(OLD | {"checks": checks}))  # not known


def test_a_list_shows_what_was_lost_and_how_fast_it_is():
    result = Result.of(Report.model_validate(OLD))
    assert (result.lost_much, result.speed) == (False, "2.0 times faster")
    result = Result.of(Report.model_validate(OLD | {"accuracy": OLD["accuracy"] | {"pruned": 0.5, "drop": 0.4}}))
    assert result.lost_much


@pytest.fixture
def full() -> Report:
    rows = [
        ROW | {"packed_ms": 0.126, "runs": 900},
        ROW | {"threads": 4, "batch": 32, "dense_ms": 0.05, "speedup": 0.4},
    ]
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
        "88.50 %",
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


class Reader(HTMLParser):
    """What a page has: tags that are open at its end, ids and addresses."""

    VOID = ("meta", "br", "path", "rect", "circle")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not {"src", "href", "style", "onload"} & {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def told(full: Report) -> Report:
    """With all that a job of today tells."""
    interval = Interval(dense=(0.87, 0.92), pruned=(0.86, 0.91), drop=(-0.01, 0.03), source="somebody 1998")
    changed = Changed(both_right=315, only_dense=9, only_pruned=5, both_wrong=31)
    counts = ((10, 2), (1, 9)), ((8, 4), (0, 10))
    rounds = [
        Round(
            step=i, phase="admm", round=i, loss=1 / i, accuracy=0.9, accuracy_pruned=i / 10, primal=10.0**-i, dual=0.1
        )
        for i in (1, 2, 3)
    ]
    rounds += [
        Round(step=3 + i, phase="retrain", round=i, loss=0.1, accuracy=0.95, accuracy_pruned=0.95) for i in (1, 2)
    ]
    new = {
        "accuracy": full.accuracy.model_copy(update={"interval": interval, "changed": changed, "unit": "images"}),
        "classes": (
            ClassReport(
                label=0, name="cat <b>", examples=12, dense_right=10, pruned_right=8, taken_for="dog", taken_more=2
            ),
            ClassReport(label=1, name="dog", examples=10, dense_right=9, pruned_right=10),
        ),
        "confusion": Confusion(names=("cat <b>", "dog"), dense=counts[0], pruned=counts[1]),
        "history": tuple(rounds),
        "next": ('try {"budget": {"pruning_rate": 15}} then',),
        "manifest": full.manifest.model_copy(update={"command": "python -m pruning 'a b' c"}),
    }
    return full.model_copy(update=new)


def test_the_page_is_whole_and_fetches_nothing(told: Report):
    page, reader = render(told), Reader()
    reader.feed(page)
    assert (
        not reader.open and "script" not in reader.seen and "link" not in reader.seen and "details" not in reader.seen
    )
    assert not re.search(r"https?://|@import|url\(", page)


def test_how_sure_it_is_and_what_changed_is_said(told: Report):
    page = render(told).replace("\N{NO-BREAK SPACE}", " ")
    assert "(95 %: 87.00 to 92.00 %)" in page and "(95 %: 86.00 to 91.00 %)" in page
    assert "1.00 points worse than the dense one" in page and "no more than chance explains" in page
    assert "9 with the dense file alone, 5 with the pruned file alone" in page and "Somebody 1998." in page
    assert "<code>{&#34;budget&#34;: {&#34;pruning_rate&#34;: 15}}</code> then." in page
    assert "python -m pruning &#39;a b&#39; c" in page


def test_the_confusion_shows_numbers_beside_its_colours(told: Report):
    page = render(told)
    assert "cat &lt;b&gt;" in page and "cat <b>" not in page
    cells = re.findall(r'<td class="((?:good|bad)\d)( own)?">([^<]+)</td>', page)
    minus = "\N{MINUS SIGN}"
    assert cells == [
        ("bad4", " own", f"{minus}2"),
        ("bad4", "", "+2"),
        ("good2", "", f"{minus}1"),
        ("good2", " own", "+1"),
    ]
    assert "Classes that lost most" in page and "dog (+2)" in page


def test_three_charts_with_their_keys(told: Report):
    page = render(told)
    assert page.count('<svg class="chart"') == 3 and page.count("<figcaption>") == 3
    assert "cut to the pruned net" in page and "retraining" in page
    assert "primal, |W - Z|: 0.1 at first, 0.001 in the end" in page


def test_ten_classes_at_most_are_named_each_way():
    classes = [
        ClassReport(label=i, name=str(i), examples=99, dense_right=50, pruned_right=50 + i - 15) for i in range(31)
    ]
    lost, gained = movers(classes)
    assert [c.label for c in lost] == list(range(10)) and [c.label for c in gained] == list(range(30, 20, -1))
    assert movers(classes[15:16]) == ([], [])


@pytest.mark.parametrize(
    ("change", "is_right", "expected"),
    [
        (0, True, ""),
        (1, True, "good1"),
        (8, True, "good4"),
        (-8, False, "good4"),
        (5, False, "bad3"),
        (-1, True, "bad1"),
    ],
)
def test_tints(change, is_right, expected):
    assert tint(change, is_right, 8) == expected


@pytest.mark.parametrize(
    ("metric", "drop", "bounds", "expected"),
    [
        (
            "top1",
            0.01,
            (0.005, 0.015),
            "1.00 points worse than the dense one (95 %: a loss of 0.50 to 1.50 points), which is more",
        ),
        (
            "top1",
            0.0,
            (-0.01, 0.01),
            "no better and no worse (95 %: a loss of \N{MINUS SIGN}1.00 to 1.00 points), which is no more",
        ),
        ("top1", -0.01, (-0.02, -0.005), "1.00 points better than the dense one"),
        ("mse", 0.5, (0.25, 0.75), "0.5 worse than the dense one (95 %: a loss of 0.25 to 0.75), which is more"),
    ],
)
def test_a_change_in_words(metric, drop, bounds, expected):
    interval = Interval(dense=(0, 1), pruned=(0, 1), drop=bounds, source="x")
    a = Accuracy(metric=metric, dense=0.5, pruned=0.5, drop=drop, examples=9, interval=interval)
    assert expected in change_of(a)
    assert change_of(a.model_copy(update={"interval": None})).endswith(("one.", "worse."))


def test_an_interval_in_words():
    assert between("top1", (0.9902, 0.9937)) == "95 %: 99.02 to 99.37 %"
    assert between("mse", (0.5, 0.75)) == "95 %: 0.5 to 0.75"

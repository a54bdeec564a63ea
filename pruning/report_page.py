"""The report as one self-contained page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from pruning import charts
from pruning.charts import Chart, Line
from pruning.headline import ROUGH, in_bytes, verdict
from pruning.report import Accuracy, Bounds, ClassReport, Confusion, LatencyReport, Report, Round, percent

OPENS, CLOSES = Markup("<code>"), Markup("</code>")
MOST_CLASSES = 10  # that lost most, and that gained most
TINTS = 4
PHASES = {"admm": "ADMM", "prune": "pruning", "retrain": "retraining", "quantize": "to levels"}


@dataclass(frozen=True)
class Figure:
    """A drawing; keys: a piece of each line and what it is."""

    title: str
    drawing: str
    keys: tuple[tuple[str, str], ...]


def render(report: Report) -> str:
    """HTML without anything from elsewhere."""
    drawn, lost, gained = figures(report), *movers(report.classes)
    return templates.get_template("report_page.html").render(report=report, figures=drawn, lost=lost, gained=gained)


def place(row: LatencyReport) -> str:
    """Where it was measured, in words."""
    threads = f"{row.threads} thread{'' if row.threads == 1 else 's'}"
    return f"{row.provider.removesuffix('ExecutionProvider')}, {threads}"


def between(metric: str, bounds: Bounds) -> str:
    """An interval in words: 95 %: 99.02 to 99.37 %."""
    low, high = (Accuracy.formatted(metric, v) for v in bounds)
    return f"95 %: {low.removesuffix(' %') if high.endswith(' %') else low} to {high}"


def change_of(a: Accuracy) -> str:
    """What became of the metric, and whether it is more than chance."""
    better, points = a.drop < 0, " points" if a.is_percent else ""
    factor = 100 if a.is_percent else 1

    def said(value: float) -> str:
        return f"{factor * value:.2f}" if a.is_percent else f"{value:.3g}"

    amount = f"{said(abs(a.drop))}{points} {'better' if better else 'worse'}" if a.drop else "no better and no worse"
    text = f"The pruned file is {amount} than the dense one" if a.drop else f"The pruned file is {amount}"
    if a.interval is None:
        return f"{text}."
    low, high = a.interval.drop
    spans = f"a loss of {said(low)} to {said(high)}{points}".replace("-", "\N{MINUS SIGN}")  # below 0 it is a gain
    sure = "more than the choice of test examples explains" if a.is_beyond_chance else "no more than chance explains"
    return f"{text} (95 %: {spans}), which is {sure}."


def movers(classes: Sequence[ClassReport]) -> tuple[list[ClassReport], list[ClassReport]]:
    """The classes that lost most, and those that gained most."""
    by_change = sorted(classes, key=lambda c: c.change)
    lost = [c for c in by_change if c.change < 0][:MOST_CLASSES]
    return lost, [c for c in reversed(by_change) if c.change > 0][:MOST_CLASSES]


def changes(confusion: Confusion) -> list[list[int]]:
    """Pruned less dense, cell by cell."""
    pairs = zip(confusion.dense, confusion.pruned, strict=True)
    return [[after - before for before, after in zip(b, a, strict=True)] for b, a in pairs]


def tint(change: int, is_right: bool, most: int) -> str:
    """A class of a cell: good or bad, in four steps."""
    if not change:
        return ""
    step = -(-TINTS * abs(change) // max(most, 1))
    return f"{'good' if (change > 0) == is_right else 'bad'}{step}"


def figures(report: Report) -> list[Figure]:
    """How training went: accuracy, loss and residuals by round."""
    rounds, metric = report.history, report.accuracy.metric
    name = Accuracy.named(metric)
    accuracy = (
        Line("the weights in training", [r.accuracy for r in rounds]),
        Line("cut to the pruned net", [r.accuracy_pruned for r in rounds]),
    )
    residuals = (Line("primal, |W - Z|", [r.primal for r in rounds]), Line("dual", [r.dual for r in rounds]))
    losses = (Line("training loss", [r.loss for r in rounds]),)
    percents = report.accuracy.is_percent
    title = f"{name[:1].upper()}{name[1:]} on the validation examples"
    drawn = (
        _figure(rounds, title, accuracy, is_log=False, is_percent=percents),
        _figure(rounds, "Loss", losses, is_log=False, is_percent=False),
        _figure(rounds, "ADMM residuals", residuals, is_log=True, is_percent=False),
    )
    return [figure for figure in drawn if figure is not None]


def _figure(
    rounds: Sequence[Round], title: str, lines: Sequence[Line], is_log: bool, is_percent: bool
) -> Figure | None:
    """None where there is nothing to draw; rounds without any of its numbers at the ends are left out."""
    filled = [i for i in range(len(rounds)) if any(line.values[i] is not None for line in lines)]
    if not filled:
        return None
    span = slice(filled[0], filled[-1] + 1)
    shown = rounds[span]
    kept = [Line(line.name, line.values[span]) for line in lines]
    kept = [line for line in kept if any(v is not None for v in line.values)]
    chart = Chart(title, [r.step for r in shown], kept, _phases(shown), is_log, is_percent)
    drawing = charts.draw(chart)
    keys = tuple((charts.key(i), line.name) for i, line in enumerate(kept))
    return Figure(title, drawing, keys) if drawing else None


def _phases(rounds: Sequence[Round]) -> list[tuple[int, str]]:
    """Where each phase begins, of every stage."""
    begins = [*rounds[:1], *(after for before, after in pairwise(rounds) if after.phase != before.phase)]
    return [(r.step, PHASES.get(r.phase, r.phase)) for r in begins]


def _coded(text: str) -> Markup:
    """A sentence whose pieces of a plan are set as code."""
    found, depth = list[str](), 0
    for c in text:
        depth += c == "{"
        opens, closes = c == "{" and depth == 1, c == "}" and depth == 1
        found += [OPENS if opens else "", c, CLOSES if closes else ""]
        depth -= c == "}"
    return Markup("").join(found)  # which escapes all that is no Markup


def _glued(text: str) -> str:
    """With numbers on the line of their units and names."""
    text = text.replace("top-1", "top\N{NON-BREAKING HYPHEN}1")
    return re.sub(r"(?<=\d) (?=(?:[kMG]B|ms|points)\b|%)", "\N{NO-BREAK SPACE}", text)


def gone(report: Report) -> int:
    """Pruned weights that the file does not even have as zeros; 0 where that is not known."""
    if any(layer.stored is None for layer in report.layers):
        return 0
    return max(report.compression.weights_total - sum(layer.stored or 0 for layer in report.layers), 0)


def _signed(n: int) -> str:
    return f"{n:+,}".replace("-", "\N{MINUS SIGN}") if n else "0"


templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
templates.filters["thousands"] = lambda n: f"{n:,}"
templates.filters["percent"] = percent
templates.filters["sentence"] = lambda text: _glued(f"{text[:1].upper()}{text[1:]}.")
templates.filters["coded"], templates.filters["glued"] = _coded, _glued
templates.filters["ms"] = lambda value: f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
templates.filters["in_bytes"] = in_bytes
templates.filters["place"], templates.filters["verdict"], templates.filters["signed"] = place, verdict, _signed
templates.filters["gone"] = gone
templates.filters["changes"], templates.filters["change_of"] = changes, change_of
templates.globals["ROUGH"], templates.globals["tint"], templates.globals["between"] = ROUGH, tint, between
templates.globals["named"], templates.globals["formatted"] = Accuracy.named, Accuracy.formatted

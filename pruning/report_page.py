"""The report as one self-contained page."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from pruning.report import Accuracy, LatencyReport, Report
from pruning.runtimes import FAST, SLOW

ROUGH = 0.5  # spread

templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
templates.filters["thousands"] = lambda n: f"{n:,}"
templates.filters["percent"] = lambda n: f"{n:.2%}"
templates.filters["sentence"] = lambda text: f"{text[:1].upper()}{text[1:]}."
templates.filters["ms"] = lambda value: f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
templates.filters["megabytes"] = lambda n: f"{n / 1e6:,.1f} MB"
templates.globals["ROUGH"] = ROUGH
templates.globals["named"], templates.globals["formatted"] = Accuracy.named, Accuracy.formatted


def render(report: Report) -> str:
    """HTML without anything from elsewhere."""
    return templates.get_template("report_page.html").render(report=report)


def place(row: LatencyReport) -> str:
    """Where it was measured, in words."""
    threads = f"{row.threads} thread{'' if row.threads == 1 else 's'}"
    return f"{row.provider.removesuffix('ExecutionProvider')}, {threads}"


def verdict(row: LatencyReport) -> str:
    """Of a row that is sure enough: faster, slower or nothing to speak of."""
    if row.spread > ROUGH:
        return ""
    return "faster" if row.speedup >= FAST else "slower" if row.speedup <= SLOW else ""


templates.filters["place"], templates.filters["verdict"] = place, verdict

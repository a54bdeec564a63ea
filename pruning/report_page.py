"""The report as one self-contained page."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from pruning.report import Accuracy, Report

templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
templates.filters["thousands"] = lambda n: f"{n:,}"
templates.filters["percent"] = lambda n: f"{n:.2%}"
templates.filters["sentence"] = lambda text: f"{text[:1].upper()}{text[1:]}."
templates.filters["ms"] = lambda value: f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
templates.filters["megabytes"] = lambda n: f"{n / 1e6:,.1f} MB"
templates.filters["place"] = lambda row: f"{row.provider.removesuffix('ExecutionProvider')}, {threads(row.threads)}"
templates.globals["named"], templates.globals["formatted"] = Accuracy.named, Accuracy.formatted


def render(report: Report) -> str:
    """HTML without anything from elsewhere."""
    return templates.get_template("report_page.html").render(report=report)


def threads(number: int) -> str:
    """In words."""
    return f"{number} thread" if number == 1 else f"{number} threads"

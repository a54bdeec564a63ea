"""The report as one self-contained page."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from pruning.report import Accuracy, Report

templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
templates.filters["thousands"] = lambda n: f"{n:,}"
templates.filters["percent"] = lambda n: f"{n:.2%}"
templates.globals["named"], templates.globals["formatted"] = Accuracy.named, Accuracy.formatted


def render(report: Report) -> str:
    """HTML without anything from elsewhere."""
    return templates.get_template("report_page.html").render(report=report)

"""The report as one self-contained page."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from pruning.report import Report

templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
templates.filters["thousands"] = lambda n: f"{n:,}"
templates.filters["percent"] = lambda n: f"{n:.2%}"


def render(report: Report) -> str:
    """HTML without anything from elsewhere."""
    return templates.get_template("report_page.html").render(report=report)

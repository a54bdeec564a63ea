"""The status page and the report as a page: templates and a little script of our own, nothing from other hosts."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader

from api.problems import Problem
from pruning.report import Report

HERE = Path(__file__).parent
STATIC = {"secateur.css": "text/css", "secateur.js": "text/javascript"}
templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)
templates.filters["thousands"] = lambda n: f"{n:,}"
templates.filters["percent"] = lambda n: f"{n:.2%}"
router = APIRouter(include_in_schema=False)


@router.get("/")
def jobs_page() -> HTMLResponse:
    """All jobs, live."""
    return HTMLResponse(templates.get_template("jobs.html").render())


@router.get("/jobs/{job_id}")
def job_page(job_id: str) -> HTMLResponse:
    """One job, live."""
    return HTMLResponse(templates.get_template("job.html").render(job_id=job_id))


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Style and script."""
    if name not in STATIC:
        raise Problem(404, f"there is no {name}")
    return FileResponse(HERE / "static" / name, media_type=STATIC[name], headers={"Cache-Control": "max-age=300"})


def report_page(report: Report, job_id: str) -> str:
    """The report as one self-contained page."""
    style = (HERE / "static" / "secateur.css").read_text()
    return templates.get_template("report.html").render(report=report, job_id=job_id, style=style)

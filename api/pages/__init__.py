"""The status page: templates and a little script of our own, nothing from other hosts."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader

from api.problems import Problem

HERE = Path(__file__).parent
STATIC = {"secateur.css": "text/css", "secateur.js": "text/javascript"}
templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)
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

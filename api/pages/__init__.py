"""The dashboard: templates and a little script of our own, nothing from other hosts."""

import gzip
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader
from starlette.staticfiles import StaticFiles

HERE = Path(__file__).parent
PLOTLY = f"/static/plotly-{version('plotly')}.js"
YEAR = "public, max-age=31536000, immutable"  # its name changes with its version
PAGES = {  # by path: template
    "/": "jobs.html",
    "/new": "new.html",
    "/jobs/{id}": "job.html",
    "/models": "models.html",
    "/models/{id}": "model.html",
    "/datasets": "datasets.html",
    "/compare": "compare.html",
}
templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)
templates.globals["plotly"] = PLOTLY
router = APIRouter(include_in_schema=False)


class Fresh(StaticFiles):
    """Files that a browser asks for anew each time, and is told that they are the same."""

    def file_response(self, *args, **kwargs) -> Response:  # type: ignore[no-untyped-def]
        """As that of StaticFiles."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def install(app: FastAPI) -> None:
    """Add the pages, their style and their scripts."""
    for path, template in PAGES.items():
        router.add_api_route(path, _page(template), response_class=HTMLResponse, methods=["GET"])
    app.include_router(router)
    app.mount("/static", Fresh(directory=HERE / "static"))


@router.get(PLOTLY)
def plotly(request: Request) -> Response:
    """Plotly's own script, out of its Python package; only pages that draw ask for it."""
    headers = {"Cache-Control": YEAR, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(_zipped(), headers={**headers, "Content-Encoding": "gzip"}, media_type="text/javascript")
    return Response(_script().read_bytes(), headers=headers, media_type="text/javascript")


def _page(template: str):  # type: ignore[no-untyped-def]
    """An endpoint; what a page is about stands in its address, which its script reads."""
    return lambda: HTMLResponse(templates.get_template(template).render())


def _script() -> Path:
    """Found without importing the package."""
    spec = find_spec("plotly")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


@cache
def _zipped() -> bytes:
    return gzip.compress(_script().read_bytes(), 6)

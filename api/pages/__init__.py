"""The dashboard: templates and a little script of our own, nothing from other hosts."""

import gzip
import hashlib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader

from api.problems import Problem
from store.settings import settings

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
TYPES = {".css": "text/css", ".js": "text/javascript"}
templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)
templates.globals["plotly"] = PLOTLY
router = APIRouter(include_in_schema=False)


@router.get(PLOTLY)
def plotly(request: Request) -> Response:
    """Plotly's own script, out of its Python package; only pages that draw ask for it."""
    headers = {"Cache-Control": YEAR, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(_zipped(), headers={**headers, "Content-Encoding": "gzip"}, media_type="text/javascript")
    return Response(_script().read_bytes(), headers=headers, media_type="text/javascript")


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """Style and script: asked for anew each time, and out of memory, as a page waits for several at once."""
    if name not in _own():
        raise Problem(404, f"there is no {name}")
    content, etag = _own()[name]
    headers = {"Cache-Control": "no-cache", "ETag": etag}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=TYPES[Path(name).suffix])


@cache
def _own() -> dict[str, tuple[bytes, str]]:
    """Our own files by name, each with its ETag."""
    read = {file.name: file.read_bytes() for file in (HERE / "static").iterdir()}
    return {name: (content, f'"{hashlib.sha256(content).hexdigest()[:32]}"') for name, content in read.items()}


def _page(template: str):  # type: ignore[no-untyped-def]
    """An endpoint; what a page is about stands in its address, which its script reads."""

    async def page(request: Request) -> HTMLResponse:
        is_plain = not request.url.query and not settings().auth  # a request made ahead can carry neither
        return HTMLResponse(templates.get_template(template).render(is_plain=is_plain))

    return page


def _script() -> Path:
    """Found without importing the package."""
    spec = find_spec("plotly")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


@cache
def _zipped() -> bytes:
    return gzip.compress(_script().read_bytes(), 6)


for path, template in PAGES.items():
    router.add_api_route(path, _page(template), response_class=HTMLResponse, methods=["GET"])

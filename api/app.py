"""The application: uvicorn --factory api.app:create."""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from api import document, pages, problems, tracing
from api.bodies import SmallBodies
from api.headers import Headers
from api.problems import PROBLEM
from api.requests import Requests
from api.resumable import Resumable
from api.routes import (
    artifacts,
    datasets,
    events,
    health,
    jobs,
    keys,
    methods,
    models,
    plans,
    quotas,
    transfers,
    webhooks,
)
from store.settings import settings

DESCRIPTION = """Prunes trained ONNX models.

Upload a model and a data set, post a job, watch it, download the pruned file with a report of what was measured on it.
"""


def create() -> FastAPI:
    """The whole application; /docs loads nothing from other hosts."""
    settings().data_dir.mkdir(parents=True, exist_ok=True)
    app = FastAPIOffline(
        title="Secateur",
        version="0.1.0",
        description=DESCRIPTION,
        responses=dict.fromkeys((400, 401, 403, 413, 422, 429), PROBLEM),
        redoc_url=None,  # its script asks another host for a picture
        telemetry=tracing.telemetry(),
    )
    problems.install(app)
    app.add_middleware(SmallBodies)
    app.add_middleware(Resumable)
    app.add_middleware(Headers)
    app.add_middleware(Requests)  # the last is the outermost
    for noun in (
        *(models, datasets, transfers, jobs, plans, events, artifacts, webhooks),
        *(methods, keys, quotas, health),
    ):
        app.include_router(noun.router)
    app.include_router(pages.router)
    document.install(app)
    return app

"""Is it up, can it work, what is it doing."""

import shutil

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from kombu.exceptions import OperationalError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from api.deps import Read
from api.problems import PROBLEM, Problem
from store import database, jobs
from store.queue import sender
from store.settings import settings

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """ok."""

    status: str = "ok"


@router.get("/healthz")
def healthz() -> Health:
    """This process answers."""
    return Health()


@router.get("/readyz", responses={503: PROBLEM})
def readyz() -> Health:
    """Database, broker and storage answer too."""
    try:
        database.ping()
        sender.ping()
        shutil.disk_usage(settings().data_dir)
    except SQLAlchemyError as error:
        raise Problem(503, "the database does not answer, or was not migrated") from error
    except OperationalError as error:
        raise Problem(503, "the broker does not answer") from error
    except OSError as error:
        raise Problem(503, "the broker or the storage does not answer") from error
    return Health()


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(session: Read) -> PlainTextResponse:
    """Jobs by status, for Prometheus."""
    registry = CollectorRegistry()
    gauge = Gauge("secateur_jobs", "Jobs by status", ["status"], registry=registry)
    for status, count in jobs.count_by_status(session).items():
        gauge.labels(status).set(count)
    return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

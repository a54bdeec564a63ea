"""Data sets."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ValidationError

from api.auth import Owner
from api.bodies import MULTIPART
from api.deps import Cursor, Limit, Read, Write
from api.problems import PROBLEM, Problem
from api.routes.uploads import UPLOAD, UploadOut, content, receive
from pruning.analysis import DatasetSummary, Preprocess
from store import datasets, uploads
from store.pages import Page
from store.settings import settings
from store.tables import Dataset

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], responses={404: PROBLEM})


class DatasetOut(UploadOut):
    """An uploaded data set; summary (splits, counts, shapes, classes) is there when it is ready."""

    format: str
    preprocess: Preprocess
    summary: DatasetSummary | None


class DatasetPage(BaseModel):
    """A page of data sets, newest first."""

    items: list[DatasetOut]
    next_cursor: str | None


@router.post(
    "",
    status_code=201,
    response_model=DatasetOut,
    responses={200: {"description": "It was there already", "model": DatasetOut}, **UPLOAD},
    openapi_extra={"requestBody": {"required": True, "content": MULTIPART}},
)
async def upload(
    request: Request,
    response: Response,
    owner: Owner,
    name: Annotated[str, Query(max_length=255)] = "data.npz",
    format: Annotated[
        Literal["npz"], Query(description="npz: x_train, y_train, x_test, y_test, and x_val, y_val if there.")
    ] = "npz",
    scale: Annotated[float, Query(allow_inf_nan=False, description="Examples become (x * scale - mean) / std.")] = 1.0,
    mean: Annotated[list[float] | None, Query(description="One value, or one for each channel.")] = None,
    std: Annotated[list[float] | None, Query(description="One value, or one for each channel.")] = None,
) -> Dataset:
    """Upload a data set as the raw body, or as the multipart part `file`."""
    preprocess = _preprocess(scale, mean or [0.0], std or [1.0]).model_dump(mode="json")
    most = settings().max_dataset_bytes
    reading = format, preprocess
    return await receive(
        request, response, "dataset", most, lambda s, blob: datasets.add(s, owner, name, blob, *reading)
    )


@router.get("", response_model=DatasetPage)
def listing(session: Read, owner: Owner, limit: Limit = 50, cursor: Cursor = None) -> Page[Dataset]:
    """Your data sets, newest first."""
    return uploads.listing(session, Dataset, owner, limit, cursor)


@router.get("/{dataset_id}", response_model=DatasetOut)
def get(session: Read, owner: Owner, dataset_id: str) -> Dataset:
    """One data set."""
    return uploads.get(session, Dataset, owner, dataset_id)


@router.get("/{dataset_id}/content")
def download(session: Read, owner: Owner, dataset_id: str) -> FileResponse:
    """The file as it came."""
    return content(uploads.get(session, Dataset, owner, dataset_id), ".npz")


@router.delete("/{dataset_id}", status_code=204, responses={409: PROBLEM})
def delete(session: Write, owner: Owner, dataset_id: str) -> None:
    """Remove a data set that no job uses."""
    uploads.delete(session, Dataset, owner, dataset_id)


def _preprocess(scale: float, mean: list[float], std: list[float]) -> Preprocess:
    try:
        return Preprocess(scale=scale, mean=tuple(mean), std=tuple(std))
    except ValidationError as error:
        said = "; ".join(f"{e['loc'][0]}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors())
        raise Problem(422, said) from error

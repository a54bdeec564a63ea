"""Data sets."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ValidationError

from api.auth import Owner
from api.bodies import MULTIPART
from api.deps import Cursor, Limit, Read, Write
from api.problems import PROBLEM, Problem
from api.routes.uploads import UPLOAD, UploadName, UploadOut, content, receive
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
    name: UploadName = "data.npz",
    format: Annotated[
        Literal["npz"], Query(description="npz: x_train, y_train, x_test, y_test, and x_val, y_val if there.")
    ] = "npz",
    scale: Annotated[float, Query(allow_inf_nan=False, description="Examples become (x * scale - mean) / std.")] = 1.0,
    mean: Annotated[list[str], Query(description="One value, or one for each channel: 0.5,0.4,0.3.")] = [],  # noqa: B006
    std: Annotated[list[str], Query(description="One value, or one for each channel: 0.5,0.4,0.3.")] = [],  # noqa: B006
) -> Dataset:
    """Upload a data set as the raw body, or as the multipart part `file`."""
    preprocess = _preprocess(scale, mean, std).model_dump(mode="json")
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


def _preprocess(scale: float, mean: list[str], std: list[str]) -> Preprocess:
    try:
        values = {name: _numbers(name, given) for name, given in {"mean": mean, "std": std}.items() if given}
        return Preprocess(scale=scale, **values)
    except ValidationError as error:
        first = error.errors()[0]
        raise Problem(422, f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from error


def _numbers(name: str, given: list[str]) -> tuple[float, ...]:
    """mean=1,2,3 and mean=1&mean=2&mean=3 are the same."""
    try:
        return tuple(float(part) for text in given for part in text.split(","))
    except ValueError as error:
        raise Problem(422, f"{name}: give numbers, one for each channel, such as {name}=0.485,0.456,0.406") from error

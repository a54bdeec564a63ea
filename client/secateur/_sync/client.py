# Generated from secateur/_async/client.py by client/generate.py: edit that one.
"""The service: upload, prune, list, delete."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, overload

import httpx

from secateur import clock
from secateur._sync.connection import Connection
from secateur._sync.job import Job
from secateur.errors import BadPlan, Rejected
from secateur.export import Module
from secateur.formats import guess
from secateur.order import OURS, order
from secateur.patience import Patience
from secateur.plans import build
from secateur.rows import CheckedPlan, DatasetRow, Goal, ModelRow, Options, Reading, UploadRow, WebhookSecret
from secateur.sources import Data, OnBytes, PathLike, Source, as_file, is_id

POLL_SECONDS = 0.3
PARAMETERS = (*OURS, *Options.__annotations__, "plan", "name", "labels", "webhook_url", "priority")
PAGE = 200


class Secateur:
    """A connection to the service.

    Args: url, key: SECATEUR_URL and SECATEUR_KEY where they are None; timeout: seconds without a byte; patience: how
    long requests that may be repeated are repeated. Raises: ValueError: url or key cannot be one.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        timeout: float = 60,
        *,
        patience: Patience | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._connection = Connection(url, key, timeout, patience or Patience(), transport)

    def __enter__(self) -> Secateur:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._connection.url

    @overload
    def prune(
        self,
        model: PathLike,
        data: Data,
        rate: float | None = None,
        *,
        plan: Mapping[str, Any] | None = None,
        name: str | None = None,
        labels: Sequence[str] = (),
        webhook_url: str | None = None,
        priority: int = 0,
        **more: Unpack[Options],
    ) -> Job: ...

    @overload
    def prune(
        self,
        model: Module,
        example: Any,
        data: Data,
        rate: float | None = None,
        *,
        plan: Mapping[str, Any] | None = None,
        name: str | None = None,
        labels: Sequence[str] = (),
        webhook_url: str | None = None,
        priority: int = 0,
        **more: Unpack[Options],
    ) -> Job: ...

    def prune(
        self,
        model: Any,
        *given: Any,
        plan: Mapping[str, Any] | None = None,
        name: str | None = None,
        labels: Sequence[str] = (),
        webhook_url: str | None = None,
        priority: int = 0,
        **named: Any,
    ) -> Job:
        """Upload what is not there yet, wait until it is examined, and post a job.

        Args: model: an ONNX file, the id of an uploaded one, or a PyTorch module, then followed by an example of its
        input; data: a file, an id, or arrays: {"x_train": ..., ...}; rate: pruning rate, 20 keeps a twentieth of the
        weights; or, by name, sparsity, max_drop, multiply_adds or bytes; plan: instead, or for everything else;
        webhook_url: is told of the job's end; priority: -10 to 10, higher goes first; more: as in upload_dataset.
        Raises: SecateurError: a file was rejected, or the plan does not fit; the message says why. OSError, BadPlan.
        ValueError: the module does not run on the example, or cannot be exported.
        """
        if unknown := set(named) - {*OURS, *Options.__annotations__}:
            raise TypeError(f"prune() has no parameter {min(unknown)}; there are {', '.join(PARAMETERS)}")
        wanted = order(model, *given, **{key: named.pop(key) for key in OURS if key in named})
        budget = {"rate": wanted.rate} | {key: named.pop(key, None) for key in Goal.__annotations__}
        if plan and plan.get("budget") and any(value is not None for value in budget.values()):
            raise BadPlan("how much may stay? Give a goal or the plan's budget, not both")
        whole = build(plan or {}, budget, option=str)
        self.check_plan(whole)  # before gigabytes are sent
        model_id = (self.upload_model(wanted.model))["id"]
        dataset_id = (self.upload_dataset(wanted.data, **named))["id"]
        return self.submit(model_id, dataset_id, whole, name, labels, webhook_url, priority)

    def upload_model(self, model: PathLike | Source, *, on_bytes: OnBytes | None = None) -> ModelRow:
        """Upload an ONNX file and wait until it is ready; of an id, only wait. Raises: SecateurError, OSError."""
        if is_id(model, "mdl"):
            return self._ready("models", self.model(str(model)))  # type: ignore[return-value]
        return self._upload("models", Source.of(model), {}, on_bytes)  # type: ignore[return-value]

    def upload_dataset(
        self, data: Data, *, on_bytes: OnBytes | None = None, **reading: Unpack[Reading]
    ) -> DatasetRow:
        """Upload a data set and wait until it is ready; of an id, only wait.

        Args: reading: format ("npz", "imagefolder", "parquet" or "idx"; guessed from the file's names), scale, mean,
        std; for images size, fit, color and layout. Raises: SecateurError, OSError, ValueError.
        """
        options = {name: value for name, value in reading.items() if value is not None}
        if is_id(data, "dat"):
            if options:
                raise ValueError(f"{data} is there already: {', '.join(options)} can be set only while uploading")
            return self._ready("datasets", self.dataset(str(data)))  # type: ignore[return-value]
        with as_file(data) as file:
            source = Source.of(file)
            if "format" not in options and isinstance(source.content, Path) and (found := guess(source.content)):
                options["format"] = found
            return self._upload("datasets", source, options, on_bytes)  # type: ignore[return-value]

    def submit(
        self,
        model_id: str,
        dataset_id: str,
        plan: Mapping[str, Any],
        name: str | None = None,
        labels: Sequence[str] = (),
        webhook_url: str | None = None,
        priority: int = 0,
    ) -> Job:
        """Post a job on what is uploaded; a broken connection is tried again, and makes no second job.

        Args: webhook_url: is told of the job's end; secateur.webhooks.verify is for what receives it. priority: -10 to
        10, higher goes first.
        Raises: SecateurError.
        """
        body: dict[str, Any] = {"model_id": model_id, "dataset_id": dataset_id, "plan": dict(plan), "name": name}
        body |= {"labels": list(labels)} | ({"webhook_url": webhook_url} if webhook_url else {})
        body |= {"priority": priority} if priority else {}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        state = self._connection.json("POST", "/v1/jobs", is_safe=True, json=body, headers=headers)
        return Job(self._connection, state)

    def job(self, job_id: str) -> Job:
        """A job by its id. Raises: SecateurError."""
        return Job(self._connection, self._connection.json("GET", f"/v1/jobs/{job_id}"))

    def jobs(
        self,
        *,
        status: str | None = None,
        label: str | None = None,
        model: str | None = None,
        search: str | None = None,
        limit: int | None = 50,
    ) -> list[Job]:
        """Jobs, newest first. Args: model: its id; search: in names, ids and labels; limit: None is all."""
        filters = {"status": status, "label": label, "model_id": model, "q": search}
        return [Job(self._connection, row) for row in self._list("jobs", limit, filters)]

    def models(self, limit: int | None = 50) -> list[ModelRow]:
        """Uploaded models, newest first. Args: limit: None is all."""
        return self._list("models", limit)

    def datasets(self, limit: int | None = 50) -> list[DatasetRow]:
        """Uploaded data sets, newest first. Args: limit: None is all."""
        return self._list("datasets", limit)

    def model(self, model_id: str) -> ModelRow:
        """A model by its id. Raises: SecateurError."""
        return self._connection.json("GET", f"/v1/models/{model_id}")

    def dataset(self, dataset_id: str) -> DatasetRow:
        """A data set by its id. Raises: SecateurError."""
        return self._connection.json("GET", f"/v1/datasets/{dataset_id}")

    def analysis(self, model_id: str) -> dict[str, Any]:
        """What can be pruned in a model: layers, inputs, warnings. Raises: SecateurError."""
        return self._connection.json("GET", f"/v1/models/{model_id}/analysis")

    def delete_model(self, model_id: str) -> None:
        """Remove a model that no job uses. Raises: SecateurError."""
        self._connection.request("DELETE", f"/v1/models/{model_id}")

    def delete_dataset(self, dataset_id: str) -> None:
        """Remove a data set that no job uses. Raises: SecateurError."""
        self._connection.request("DELETE", f"/v1/datasets/{dataset_id}")

    def methods(self) -> dict[str, Any]:
        """JSON Schemas of what a plan may say."""
        return self._connection.json("GET", "/v1/methods")

    def check_plan(
        self, plan: Mapping[str, Any], model_id: str | None = None, dataset_id: str | None = None
    ) -> CheckedPlan:
        """A plan with its defaults, and what it would do with a model. Raises: SecateurError: with its faults."""
        ids = {"model_id": model_id, "dataset_id": dataset_id}
        body: dict[str, Any] = {"plan": dict(plan)} | {name: id for name, id in ids.items() if id}
        return self._connection.json("POST", "/v1/plans/check", is_safe=True, json=body)

    def webhook_secret(self, *, rotate: bool = False) -> WebhookSecret:
        """What messages to your webhooks are signed with. Args: rotate: make a new one. Raises: SecateurError."""
        path = f"/v1/webhooks/secret{'/rotate' if rotate else ''}"
        return self._connection.json("POST", path, is_safe=not rotate)

    def _upload(
        self, noun: str, source: Source, options: Mapping[str, Any], on_bytes: OnBytes | None
    ) -> UploadRow:
        row = self._connection.upload(f"/v1/{noun}", source, {"name": source.name, **options}, on_bytes)
        return self._ready(noun, row)

    def _ready(self, noun: str, row: UploadRow) -> UploadRow:
        while row["status"] == "validating":
            clock.sleep(POLL_SECONDS)
            row = self._connection.json("GET", f"/v1/{noun}/{row['id']}")
        if row["status"] == "rejected":
            raise Rejected(f"{row['name']} was rejected: {'; '.join(row['problems'])}")
        return row

    def _list(self, noun: str, limit: int | None, filters: Mapping[str, str | None] | None = None) -> list[Any]:
        parameters: dict[str, Any] = {k: v for k, v in (filters or {}).items() if v is not None}
        found: list[Any] = []
        while limit is None or len(found) < limit:
            parameters["limit"] = PAGE if limit is None else min(PAGE, limit - len(found))
            page = self._connection.json("GET", f"/v1/{noun}", params=parameters)
            found += page["items"]
            if (cursor := page["next_cursor"]) is None:
                break
            parameters["cursor"] = cursor
        return found

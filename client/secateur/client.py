"""The service from Python: upload, prune, wait, download."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

POLL_SECONDS = 0.5
ENDED = ("succeeded", "failed", "cancelled")
PIECE = 1 << 20
RETRIES = (0.5, 1, 2)  # seconds between tries of a request that may be repeated


class SecateurError(Exception):
    """The service refused, or a job failed. status: the HTTP status, None where there was none."""

    def __init__(self, message: str, status: int | None = None, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.errors = errors or []


class Secateur:
    """A connection to the service at `url`; `key` where it asks for one."""

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None, timeout: float = 60) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)

    def __enter__(self) -> "Secateur":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def prune(
        self,
        model: str | Path,
        data: str | Path,
        rate: float | None = None,
        plan: Mapping[str, Any] | None = None,
        name: str | None = None,
        **reading: Any,
    ) -> "Job":
        """Upload both files, wait until they are examined, and post a job.

        Args: rate: pruning rate, 20 keeps a twentieth of the weights; plan: instead, or for everything else;
        reading: as in upload_dataset.
        Raises: SecateurError: a file was rejected, or the plan does not fit; the message says why.
        """
        plan = dict(plan or {})
        if rate is not None:
            plan["budget"] = {"pruning_rate": rate}
        model_id = self.upload_model(model)["id"]
        return self.submit(model_id, self.upload_dataset(data, **reading)["id"], plan, name)

    def upload_model(self, path: str | Path) -> dict[str, Any]:
        """Upload an ONNX file and wait until it is ready. Raises: SecateurError."""
        return self._upload("models", Path(path), {})

    def upload_dataset(self, path: str | Path, **reading: Any) -> dict[str, Any]:
        """Upload a data set and wait until it is ready.

        Args: reading: format ("npz", "imagefolder", "parquet" or "idx"), scale, mean, std; for images size, fit,
        color and layout. Raises: SecateurError.
        """
        return self._upload("datasets", Path(path), reading)

    def submit(self, model_id: str, dataset_id: str, plan: Mapping[str, Any], name: str | None = None) -> "Job":
        """Post a job on what is uploaded; a broken connection is tried again, and makes no second job.

        Raises: SecateurError.
        """
        body = {"model_id": model_id, "dataset_id": dataset_id, "plan": dict(plan), "name": name}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        for seconds in RETRIES:
            try:
                return Job(self, self.request("POST", "/v1/jobs", json=body, headers=headers).json())
            except SecateurError as error:
                if error.status is not None:
                    raise
                time.sleep(seconds)
        return Job(self, self.request("POST", "/v1/jobs", json=body, headers=headers).json())

    def job(self, job_id: str) -> "Job":
        """A job by its id. Raises: SecateurError."""
        return Job(self, self.request("GET", f"/v1/jobs/{job_id}").json())

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request; an error of the service is raised as SecateurError with its sentence."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise SecateurError(f"the service at {self._http.base_url} does not answer: {error}") from error
        if response.is_error:
            raise _refusal(response)
        return response

    def download(self, path: str, target: Path) -> None:
        """Stream a file to disk; it has its name when it is whole. Raises: SecateurError."""
        part = target.with_name(target.name + ".part")
        try:
            with self._http.stream("GET", path) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                with part.open("wb") as file:
                    for piece in response.iter_bytes(PIECE):
                        file.write(piece)
            part.rename(target)
        except httpx.HTTPError as error:
            raise SecateurError(f"the download of {path} broke off: {error}") from error
        finally:
            part.unlink(missing_ok=True)

    def _upload(self, noun: str, path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
        size = {"Content-Length": str(path.stat().st_size)}
        parameters = {"name": path.name, **options}
        row = self.request("POST", f"/v1/{noun}", params=parameters, content=_pieces(path), headers=size).json()
        while row["status"] == "validating":
            time.sleep(POLL_SECONDS)
            row = self.request("GET", f"/v1/{noun}/{row['id']}").json()
        if row["status"] == "rejected":
            raise SecateurError(f"{path} was rejected: {'; '.join(row['problems'])}")
        return row


class Job:
    """A job; `state` is what the service last said of it."""

    def __init__(self, service: Secateur, state: dict[str, Any]) -> None:
        self._service = service
        self.state = state

    @property
    def id(self) -> str:
        """Its id."""
        return self.state["id"]

    def refresh(self) -> "Job":
        """Ask the service."""
        self.state = self._service.request("GET", f"/v1/jobs/{self.id}").json()
        return self

    def wait(self, on_update: Callable[["Job"], None] | None = None) -> "Job":
        """Wait for the end; on_update is called after every look. Raises: SecateurError: it failed or was cancelled."""
        while self.refresh().state["status"] not in ENDED:
            if on_update:
                on_update(self)
            time.sleep(POLL_SECONDS)
        if on_update:
            on_update(self)
        if self.state["status"] != "succeeded":
            raise SecateurError(f"job {self.id} {self.state['status']}: {self.state['error'] or ''}".rstrip(": "))
        return self

    def cancel(self) -> "Job":
        """Ask for its end. Raises: SecateurError: it has ended already."""
        self.state = self._service.request("POST", f"/v1/jobs/{self.id}/cancel").json()
        return self

    def warnings(self) -> list[str]:
        """What the job warned of, such as a dense model that is no better than chance."""
        events = self._service.request("GET", f"/v1/jobs/{self.id}/events", params={"limit": 200}).json()["items"]
        return [event["data"]["text"] for event in events if event["kind"] == "warning"]

    def report(self) -> dict[str, Any]:
        """The report. Raises: SecateurError: there is none yet."""
        return self._service.request("GET", f"/v1/jobs/{self.id}/report").json()

    def download(self, name: str, folder: str | Path) -> Path:
        """Download one file, such as pruned.onnx; returns where it is. Raises: SecateurError."""
        target = Path(folder) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self._service.download(f"/v1/jobs/{self.id}/artifacts/{name}", target)
        return target


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _refusal(response: httpx.Response) -> SecateurError:
    try:
        body: dict[str, Any] = response.json()
    except ValueError:
        body = {"detail": f"the service answered {response.status_code}"}
    return SecateurError(body["detail"], response.status_code, body.get("errors"))

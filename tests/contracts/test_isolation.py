"""Nobody reaches what is another's: every path of the OpenAPI document, whatever is added to it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from api.app import create
from pruning.onnx.analyse import analyse
from pruning.onnx.vet import vet
from store import artifacts, database, datasets, deliveries, jobs, keys, migrate, models, quotas, transfers, uploads
from store.database import writing
from store.key_uses import uses
from store.keys import Scope
from store.queue import sender
from store.settings import settings
from store.tables import Dataset, Job, Model
from tests.conftest import run_async, tiny_model

METHODS = ("get", "post", "put", "patch", "delete")
OPEN = {"/healthz", "/readyz", "/v1/methods"}  # to everybody, and saying nothing of anybody
OTHERWISE = {"/metrics"}  # has a token of its own, which is no key
ADMINS = ("/v1/keys", "/v1/quotas")
TUS = {
    "Tus-Resumable": "1.0.0",
    "Content-Type": "application/offset+octet-stream",
    "Upload-Offset": "0",
    "Upload-Length": "10",
}
PLAN = {"budget": {"pruning_rate": 2}}
RESULT = {
    "goal_met": True,
    "metric": "top1",
    **dict.fromkeys(["accuracy_dense", "accuracy_pruned", "drop", "pruning_rate", "speedup", "spread"], 1.0),
    **dict.fromkeys(["weights_total", "weights_kept", "bytes_dense", "bytes_pruned", "dense_ms", "pruned_ms"], 1),
    "bytes_packed": None,
}
SPLIT = {"shape": [1, 6, 6], "dtype": "float32", "examples": 10}
SUMMARY = {"format": "npz", "splits": {"train": SPLIT, "test": SPLIT}, "classes": 3}
MODEL = tiny_model().SerializeToString()


class House:
    """The application with rows of anna, and keys of her, of ben and of an administrator."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        analysis = analyse(vet(MODEL))[0].model_dump(mode="json")
        with writing() as session:
            scopes: dict[str, Scope] = {"anna": "write", "ben": "write", "root": "admin"}
            self.keys = {who: keys.create(session, who, scope=scope)[1] for who, scope in scopes.items()}
            self.reader = keys.create(session, "anna", scope="read")[1]
            spare, _ = keys.create(session, "anna", name="anna's spare")
            self.ids = self._rows(session, "anna", analysis) | {"key_id": spare.id, "owner": "anna"}
            self.bens = self._rows(session, "ben", analysis)
        self.secrets = [*self.ids.values(), "anna"]

    def _rows(self, session: Any, owner: str, analysis: Mapping[str, Any]) -> dict[str, str]:
        model, _ = models.add(session, owner, f"{owner}'s model", artifacts.put(MODEL))
        data, _ = datasets.add(session, owner, f"{owner}'s data", artifacts.put(owner.encode()), "npz", {})
        for table, row, facts in ((Model, model, {"analysis": analysis}), (Dataset, data, {"summary": SUMMARY})):
            uploads.judge(session, table, row.id, 0, [], facts)  # type: ignore[type-var]
        job = self._job(session, owner, model.id, data.id)
        files = {name: artifacts.put(f"{owner} {name}".encode()) for name in ("report.json", "report.html")}
        jobs.claim(session, job.id, "w")
        jobs.succeed(session, job.id, 1, files, {**RESULT, "headline": f"{owner}'s headline"})
        (message,) = deliveries.of_job(session, job.id)
        ids = {"model_id": model.id, "dataset_id": data.id, "job_id": job.id, "message_id": message.id}
        transfer = transfers.add(session, owner, "model", {"name": f"{owner}'s"}, 10, None)
        return ids | {"name": "report.html", "transfer_id": transfer.id}

    def _job(self, session: Any, owner: str, model_id: str, dataset_id: str) -> Job:
        request = jobs.Request(model_id, dataset_id, PLAN, f"{owner}'s job", ("of", owner), f"{owner}-1", "hash")
        told = replace(request, webhook_url=f"https://example.com/{owner}")
        return jobs.create(session, owner, told)[0]

    def ask(self, who: str, method: str, path: str, **more: Any) -> Response:
        secret = {"nobody": "", "reader": self.reader}.get(who) if who in ("nobody", "reader") else self.keys[who]
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return self.request(method, path, headers=headers | more.pop("headers", {}), **more)

    def request(self, method: str, path: str, **more: Any) -> Response:
        if "/transfers" in path:  # who does not speak tus is told so before anything is looked up
            more["headers"] = TUS | more.pop("headers", {})

        async def sent() -> Response:
            async with AsyncClient(transport=ASGITransport(self.app), base_url="http://test") as client:
                return await client.request(method, path, **more)

        return run_async(sent())

    def says_nothing_of_anna(self, response: Response) -> None:
        assert not [secret for secret in self.secrets if secret in response.text], response.text


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECATEUR_DATA_DIR", str(tmp_path_factory.mktemp("isolation")))
        patch.setenv("SECATEUR_AUTH", "true")
        patch.setattr(type(sender), "wake", lambda *_: False)  # there is no broker here, and nobody waits for it
        patch.setattr(type(sender), "ping", lambda _: None)
        settings.cache_clear()
        database.engine.cache_clear()
        migrate.main()
        yield House(create())
        uses.thread.submit(lambda: None).result()  # what it was given before is written
        database.engine().dispose()
    settings.cache_clear()
    database.engine.cache_clear()


def operations() -> list[tuple[str, str]]:
    """Method and path of all that the document names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECATEUR_AUTH", "true")
        settings.cache_clear()
        paths = create().openapi()["paths"]
    settings.cache_clear()
    return [(method, path) for path, item in paths.items() for method in METHODS if method in item]


ALL = operations()
WITH_IDS = [(method, path) for method, path in ALL if "{" in path]
BODIES: dict[tuple[str, str], Any] = {("put", "/v1/quotas/{owner}"): {"max_jobs_queued": 5}}


def test_every_route_of_the_interface_is_in_the_document(house: House) -> None:
    hidden = [
        r
        for r in house.app.routes
        if getattr(r, "path", "").startswith("/v1") and not getattr(r, "include_in_schema", True)
    ]
    assert hidden == []


@pytest.mark.parametrize(("method", "path"), WITH_IDS, ids=str)
def test_ids_of_another_are_not_there(house: House, method: str, path: str) -> None:
    place, body = path.format(**house.ids), BODIES.get((method, path))
    for accept in ("*/*", "text/html", "text/event-stream"):
        response = house.ask("ben", method, place, json=body, headers={"Accept": accept})
        assert response.status_code == (403 if path.startswith(ADMINS) else 404), response.text
        mine = response.text.replace(house.ids["job_id"], "").replace(house.ids["model_id"], "")
        assert "anna's" not in mine and "headline" not in mine
    for name in re.findall(r"{(\w+_id)}", path):  # nor one of hers behind one of his own
        mixed = {**house.bens, "key_id": house.ids["key_id"], name: house.ids[name]}
        assert house.ask("ben", method, path.format(**mixed), json=body).status_code == response.status_code
    # the same for one that nobody has: what is another's cannot be told from what is not there
    nowhere = path.format(**{name: f"{name[:3]}_nowhere" for name in house.ids})
    assert house.ask("ben", method, nowhere, json=body).status_code == response.status_code


@pytest.mark.parametrize(("method", "path"), ALL, ids=str)
def test_nothing_is_open_without_a_key(house: House, method: str, path: str) -> None:
    response = house.ask("nobody", method, path.format(**house.bens, key_id="k", owner="ben"))
    assert response.status_code == (200 if path in OPEN else 401), response.text
    house.says_nothing_of_anna(response)


@pytest.mark.parametrize(("method", "path"), [o for o in ALL if o[1] not in OPEN | OTHERWISE], ids=str)
def test_a_scope_is_enough_or_named(house: House, method: str, path: str) -> None:
    response = house.ask("reader", method, path.format(**house.bens, key_id="k", owner="ben"))
    if path.startswith(ADMINS) or method != "get":
        needed = "write" if method != "get" else "admin"
        assert response.status_code == 403 and f"a key with the scope {needed}" in response.json()["detail"]
    else:
        assert response.status_code in (200, 404)


@pytest.mark.parametrize(
    "path",
    [p for m, p in ALL if m == "get" and "{" not in p and p not in OPEN | OTHERWISE and not p.startswith(ADMINS)],
)
def test_lists_hold_nothing_of_others(house: House, path: str) -> None:
    queries: list[dict[str, str]] = [{}, {"limit": "1"}, {"cursor": house.ids["job_id"] + "z"}, {"q": "anna"}]
    queries += [{name: house.ids[name]} for name in ("model_id", "dataset_id")] + [{"label": "anna"}]
    for query in queries:
        house.says_nothing_of_anna(house.ask("ben", "get", path, params=query))


def test_a_plan_reaches_nothing_of_others(house: House) -> None:
    own = {"model_id": house.bens["model_id"], "dataset_id": house.bens["dataset_id"]}
    for body in (
        {**own, "plan": {**PLAN, "distill": {"weight": 0.5, "teacher": house.ids["model_id"]}}},
        {**own, "plan": PLAN, "model_id": house.ids["model_id"]},
        {**own, "plan": PLAN, "dataset_id": house.ids["dataset_id"]},
    ):
        for path in ("/v1/plans/check", "/v1/jobs"):
            response = house.ask("ben", "post", path, json=body)
            assert response.status_code == 404, response.text
    taught = {**own, "plan": {**PLAN, "distill": {"weight": 0.5, "teacher": house.bens["model_id"]}}}
    assert house.ask("ben", "post", "/v1/plans/check", json=taught).status_code == 200


def test_an_idempotency_key_is_the_owners_own(house: House) -> None:
    body = {"model_id": house.bens["model_id"], "dataset_id": house.bens["dataset_id"], "plan": PLAN}
    response = house.ask("ben", "post", "/v1/jobs", json=body, headers={"Idempotency-Key": "anna-1"})
    assert response.status_code == 201
    house.says_nothing_of_anna(response)


def test_the_same_bytes_tell_nothing_of_others(house: House) -> None:
    for noun, content in (("models", b"only anna has this"), ("datasets", b"and this")):
        first = house.ask("anna", "post", f"/v1/{noun}", content=content)
        second = house.ask("ben", "post", f"/v1/{noun}", content=content)
        assert first.status_code == second.status_code == 201
        assert first.json()["id"] != second.json()["id"]
        assert set(first.json()) == set(second.json()) and second.json()["status"] == "validating"
        gone = house.ask("anna", "delete", f"/v1/{noun}/{first.json()['id']}")
        assert gone.status_code == 204
        kept = house.ask("ben", "get", f"/v1/{noun}/{second.json()['id']}/content")
        assert kept.content == content and kept.headers["content-disposition"].startswith("attachment")


def test_a_key_in_the_address_is_none(house: House) -> None:
    assert house.request("get", "/v1/jobs", params={"key": house.keys["anna"]}).status_code == 401
    assert house.request("get", "/v1/jobs", headers={"X-API-Key": house.keys["anna"]}).status_code == 401
    assert house.request("get", "/v1/jobs", auth=("anna", house.keys["anna"])).status_code == 401


def test_quotas_of_others_are_not_asked_for_by_their_owners(house: House) -> None:
    with writing() as session:
        quotas.put(session, "ben", {"max_jobs_queued": 7})
    assert house.ask("root", "get", "/v1/quotas/ben").json()["limits"]["max_jobs_queued"] == 7
    assert house.ask("ben", "get", "/v1/quotas/ben").status_code == 403


def test_the_same_requests_reach_them_with_the_owners_key(house: House) -> None:
    """Else the tests before would prove nothing; it is the last, for it deletes them, jobs first."""
    order = sorted(WITH_IDS, key=lambda o: (o[0] == "delete", "{job_id}" not in o[1]))
    for method, path in order:
        who = "root" if path.startswith(ADMINS) else "anna"
        response = house.ask(who, method, path.format(**house.ids), json=BODIES.get((method, path)))
        assert response.status_code in (200, 201, 204, 409), (path, response.text)

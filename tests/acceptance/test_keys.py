"""A service that asks for keys: what each may do, how much and how often, in real processes."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.acceptance.test_bad_input import check_problem
from tests.conftest import Service, save_npz, tiny_model

MODEL = tiny_model().SerializeToString()
opened: list[httpx.Client] = []


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("locked"), auth="true", max_wrong_keys_a_minute="5").start()
    yield running
    while opened:
        opened.pop().close()
    assert running.stop() == 0


@pytest.fixture(scope="module")
def root(locked: Service) -> httpx.Client:
    return having(locked, locked.new_key("root", "--scope", "admin"))


def having(locked: Service, secret: str) -> httpx.Client:
    """A client with this key."""
    opened.append(httpx.Client(base_url=locked.url, timeout=30, headers={"Authorization": f"Bearer {secret}"}))
    return opened[-1]


def test_keys_are_asked_for_and_made_over_http(locked: Service, root: httpx.Client) -> None:
    check_problem(locked.http.get("/v1/jobs"), 401, "send an API key")
    check_problem(locked.http.get("/v1/jobs", headers={"Authorization": "Bearer sct_no"}), 401, "unknown, revoked")
    made = root.post("/v1/keys", json={"owner": "anna", "name": "laptop", "scope": "read", "expires_in_days": 1})
    key = made.json()
    assert made.status_code == 201 and key["secret"].startswith("sct_") and made.headers["cache-control"] == "no-store"
    anna = having(locked, key["secret"])
    assert anna.get("/v1/models").status_code == 200
    check_problem(anna.post("/v1/models", content=MODEL), 403, "a key with the scope write")
    shown = until_used(root, made.headers["location"])
    assert "secret" not in shown and shown["name"] == "laptop" and shown["expires_at"] > shown["created_at"]
    assert root.delete(made.headers["location"]).status_code == 204
    check_problem(anna.get("/v1/models"), 401, "unknown, revoked or expired")
    assert root.get(made.headers["location"]).json()["revoked_at"] is not None
    check_problem(root.post("/v1/keys", json={"owner": "a b"}), 422, "/owner")
    files = [file.read_bytes() for file in locked.folder.rglob("*") if file.is_file()]
    assert not any(key["secret"].encode() in content for content in files)  # database, logs and all


def new_key(root: httpx.Client, owner: str) -> str:
    return root.post("/v1/keys", json={"owner": owner}).json()["secret"]


def until_used(root: httpx.Client, place: str) -> dict:
    end = time.monotonic() + 30
    while (shown := root.get(place).json())["last_used_at"] is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return shown


def test_the_last_admin_key_stays_over_http(locked: Service, root: httpx.Client) -> None:
    mine = next(key for key in root.get("/v1/keys?owner=root").json()["items"])
    check_problem(root.delete(f"/v1/keys/{mine['id']}"), 409, "the last admin key")
    assert root.get("/v1/keys").status_code == 200


def test_too_many_bytes_and_jobs_are_refused(locked: Service, root: httpx.Client) -> None:
    data = save_npz(locked.folder / "data.npz").read_bytes()
    locked.http.headers["Authorization"] = f"Bearer {new_key(root, 'dora')}"
    ids = {"model_id": locked.upload("models", MODEL), "dataset_id": locked.upload("datasets", data)}
    stored = root.get("/v1/quotas/dora").json()["used"]["bytes_stored"]
    assert stored == len(MODEL) + len(data)
    limits = {"max_bytes_stored": stored + 100, "max_jobs_queued": 1}
    assert root.put("/v1/quotas/dora", json=limits).json()["own"]["max_bytes_stored"] == stored + 100
    check_problem(locked.http.post("/v1/models", content=bytes(101)), 413, "room for 100 more bytes")
    check_problem(locked.http.post("/v1/models", content=iter([bytes(99), bytes(9)])), 413, "room for 100 more")
    with ThreadPoolExecutor(2) as pool:  # each of them fits
        both = pool.map(lambda i: locked.http.post("/v1/models", content=bytes([i]) * 80).status_code, (1, 2))
        assert sorted(both) == [201, 413]
    workers = locked.pids("worker.app worker")
    assert workers
    with ExitStack() as stopped:
        for pid in workers:
            stopped.enter_context(locked.paused(pid))
        bodies = [{**ids, "plan": {"budget": {"pruning_rate": rate}}} for rate in (2, 3)]
        headers = {"Idempotency-Key": "first"}
        first = locked.http.post("/v1/jobs", json=bodies[0], headers=headers)
        assert first.status_code == 201
        second = locked.http.post("/v1/jobs", json=bodies[1])
        check_problem(second, 429, "1 jobs of this account wait already")
        assert int(second.headers["retry-after"]) >= 1
        assert locked.http.post("/v1/jobs", json=bodies[0], headers=headers).status_code == 200
        locked.http.post(f"/v1/jobs/{first.json()['id']}/cancel")


def test_requests_are_counted_over_all_keys_of_an_account(locked: Service, root: httpx.Client) -> None:
    root.put("/v1/quotas/erik", json={"max_requests_a_minute": 4})
    first, second = (having(locked, new_key(root, "erik")) for _ in range(2))
    answers = [client.get("/v1/models") for client in (first, second, first, second, first)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    check_problem(answers[-1], 429, "4 requests a minute")
    assert answers[0].headers["ratelimit-policy"] == '"requests";q=4;w=60'
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=3", "r=2", "r=1", "r=0", "r=0"]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert root.get("/v1/models").status_code == 200


def test_who_guesses_keys_is_slowed_down_and_nobody_else(locked: Service, root: httpx.Client) -> None:
    guesses = [having(locked, f"sct_{i}").get("/v1/models") for i in range(7)]
    check_problem(guesses[-1], 429, "wrong keys")
    assert guesses[-1].headers["retry-after"] and guesses[0].status_code in (401, 429)
    assert root.get("/v1/models").status_code == 200


def test_without_a_broker_requests_are_let_through(locked: Service, root: httpx.Client) -> None:
    erik = having(locked, new_key(root, "erik"))
    assert erik.get("/v1/models").status_code == 429
    (broker,) = locked.pids("valkey-server")
    with locked.paused(broker):
        assert erik.get("/v1/models").status_code == 200
        assert "requests are not counted" in (locked.folder / "logs" / "api.log").read_text()

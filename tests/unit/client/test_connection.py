"""Requests that are tried again, downloads that go on, errors in words."""

import hashlib
from pathlib import Path

import httpx
import pytest
from secateur import AsyncSecateur, JobEnded, Patience, Secateur, SecateurError, Unreachable

from tests.conftest import run_async
from tests.unit.client.service import JOB, METRICS, REPORT, Clock, Cut, Scripted, problem

BROKEN = httpx.ConnectError("refused")
CONTENT = bytes(range(256)) * 8
ETAG = {"etag": f'"{hashlib.sha256(CONTENT).hexdigest()}"'}
FILE = "/v1/jobs/job_1/artifacts/pruned.onnx"


def test_pauses_double_up_to_a_bound_and_patience_ends(slept: Clock) -> None:
    script = Scripted().on("GET", "/v1/jobs/job_1", problem(503, "busy"))
    with pytest.raises(Unreachable, match="busy"):
        script.client().job("job_1")
    for pause, longest in zip(slept.pauses, (0.5, 1, 2, 4, 8, 8, 8), strict=False):
        assert longest / 2 <= pause <= longest
    assert 22 <= slept.time <= 30 and len(script.asked) == len(slept.pauses) + 1


def test_a_service_that_never_answered_is_given_less(slept: Clock) -> None:
    with pytest.raises(Unreachable, match="at http://test does not answer: refused"):
        Scripted().on("GET", "/v1/jobs/job_1", BROKEN).client().job("job_1")
    assert 0 < slept.time <= 3


def test_retry_after_is_honoured(slept: Clock) -> None:
    busy = problem(429, "slower", headers={"Retry-After": "7"})
    assert Scripted().on("GET", "/v1/jobs/job_1", busy, JOB).client().job("job_1").id == "job_1"
    assert slept.pauses == [7]
    late = problem(429, "slower", headers={"Retry-After": "31"})
    with pytest.raises(SecateurError, match="slower"):
        Scripted().on("GET", "/v1/jobs/job_1", late).client().job("job_1")
    assert slept.pauses == [7]


def test_a_refusal_is_not_repeated_and_has_its_pointers(slept: Clock) -> None:
    faults = [{"pointer": "/plan/budget", "detail": "too far"}]
    script = Scripted().on("POST", "/v1/jobs", problem(422, "a bad plan", errors=faults))
    with pytest.raises(SecateurError, match="a bad plan") as error:
        script.client().submit("mdl_1", "dat_1", {})
    assert (error.value.status, error.value.errors, slept.pauses) == (422, faults, [])


def test_a_job_is_posted_again_with_the_same_key(slept: Clock) -> None:
    script = Scripted().on("POST", "/v1/jobs", BROKEN, problem(502, "away"), JOB)
    assert script.client().submit("mdl_1", "dat_1", {}).id == "job_1"
    keys = [request.headers["idempotency-key"] for request in script.asked]
    assert len(keys) == 3 and len(set(keys)) == 1


def test_an_upload_is_sent_again_from_its_start(slept: Clock, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(CONTENT)
    row = {"id": "mdl_1", "name": "m.onnx", "status": "ready", "problems": []}
    script = Scripted().on("POST", "/v1/models", problem(503, "busy"), row)
    sent: list[tuple[int, int]] = []
    script.client().upload_model(tmp_path / "m.onnx", on_bytes=lambda done, total: sent.append((done, total)))
    assert [request.content for request in script.asked] == [CONTENT, CONTENT]
    assert sent == [(len(CONTENT), len(CONTENT))] * 2


def test_a_deletion_whose_answer_was_lost_is_done(slept: Clock) -> None:
    script = Scripted().on("DELETE", "/v1/models/mdl_1", httpx.ReadError("lost"), problem(404, "there is no model"))
    script.client().delete_model("mdl_1")
    with pytest.raises(SecateurError, match="there is no model"):
        script.client().delete_model("mdl_1")


def test_a_cancel_whose_answer_was_lost_is_looked_at_first(slept: Clock) -> None:
    script = Scripted().on("GET", "/v1/jobs/job_1", JOB, JOB | {"status": "cancelling"})
    script.on("POST", "/v1/jobs/job_1/cancel", httpx.ReadError("lost"))
    assert script.client().job("job_1").cancel().state["status"] == "cancelling"
    assert [request.method for request in script.asked] == ["GET", "POST", "GET"]


def test_a_download_goes_on_where_it_was_cut(slept: Clock, tmp_path: Path) -> None:
    cut = httpx.Response(200, headers=ETAG | {"content-length": "2048"}, stream=Cut(CONTENT[:700]))
    rest = httpx.Response(206, headers=ETAG | {"content-range": "bytes 700-2047/2048"}, content=CONTENT[700:])
    script = Scripted().on("GET", "/v1/jobs/job_1", JOB).on("GET", FILE, cut, rest)
    (path,) = script.client().job("job_1").download(tmp_path, "pruned.onnx")
    assert path.read_bytes() == CONTENT
    assert script.asked[-1].headers["range"] == "bytes=700-" and script.asked[-1].headers["if-range"] == ETAG["etag"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(slept: Clock, tmp_path: Path) -> None:
    cut = httpx.Response(200, headers={"etag": '"old"'}, stream=Cut(b"old"))
    script = Scripted().on("GET", "/v1/jobs/job_1", JOB).on("GET", FILE, cut, httpx.Response(200, content=CONTENT))
    (path,) = script.client().job("job_1").download(tmp_path, "pruned.onnx")
    assert path.read_bytes() == CONTENT


def test_a_damaged_file_gets_no_name(slept: Clock, tmp_path: Path) -> None:
    wrong = httpx.Response(200, headers=ETAG, content=CONTENT[:-1])
    script = Scripted().on("GET", "/v1/jobs/job_1", JOB).on("GET", FILE, wrong)
    with pytest.raises(SecateurError, match=r"pruned\.onnx was damaged"):
        script.client().job("job_1").download(tmp_path, "pruned.onnx")
    assert list(tmp_path.iterdir()) == []


def event(seq: int) -> str:
    return f'id: {seq}\nevent: phase\ndata: {{"seq": {seq}, "at": "", "kind": "phase", "data": {{}}}}\n\n'


def test_events_go_on_after_the_last_one(slept: Clock) -> None:
    stream = {"content-type": "text/event-stream"}
    cut = httpx.Response(200, headers=stream, stream=Cut(event(1).encode()))
    rest = httpx.Response(200, headers=stream, content=event(2))
    page = {"items": [{"seq": 3, "at": "", "kind": "status", "data": {}}], "next_cursor": None}
    script = Scripted().on("GET", "/v1/jobs/job_1", JOB, JOB | {"status": "succeeded"})
    script.on("GET", "/v1/jobs/job_1/events", cut, rest, page)
    assert [e["seq"] for e in script.client().job("job_1").events()] == [1, 2, 3]
    asked = [r.headers.get("last-event-id") for r in script.asked if r.url.path.endswith("/events")]
    assert asked == ["0", "1", None]


def test_events_are_polled_where_streams_do_not_get_through(slept: Clock) -> None:
    def page(*numbers: int) -> dict:
        return {"items": [{"seq": n, "at": "", "kind": "x", "data": {}} for n in numbers], "next_cursor": None}

    script = Scripted().on("GET", "/v1/jobs/job_1", JOB, JOB, JOB | {"status": "failed"})
    script.on("GET", "/v1/jobs/job_1/events", page(), page(1), page(), page(2))
    assert [e["seq"] for e in script.client().job("job_1").events()] == [1, 2]


def test_wait_raises_what_the_job_failed_of(slept: Clock) -> None:
    failed = JOB | {"status": "failed", "error": "out of memory"}
    script = Scripted().on("GET", "/v1/jobs/job_1", JOB, JOB, failed).on("GET", "/v1/jobs/job_1/metrics", METRICS)
    seen = []
    with pytest.raises(JobEnded, match="job job_1 failed: out of memory"):
        script.client().job("job_1").wait(lambda job: seen.append((job.state["status"], job.now)))
    assert [status for status, _ in seen] == ["running", "failed"]
    assert seen[0][1].in_words() == "top-1 50.00 % (dense 99.00 %), on validation examples"


def test_the_asynchronous_client_does_the_same() -> None:
    script = Scripted().on("GET", "/v1/jobs/job_1", problem(503, "busy"), JOB | {"status": "succeeded"})
    script.on("GET", "/v1/jobs/job_1/metrics", METRICS).on("GET", "/v1/jobs/job_1/report", REPORT)

    async def look() -> str:
        quick = Patience(first=0.01)
        async with AsyncSecateur("http://test", patience=quick, transport=httpx.MockTransport(script)) as client:
            job = await (await client.job("job_1")).wait()
            return (await job.report())["headline"]

    assert run_async(look()) == REPORT["headline"]


def test_lists_follow_the_cursor() -> None:
    pages = {"items": [{"id": "mdl_1"}], "next_cursor": "c"}, {"items": [{"id": "mdl_2"}], "next_cursor": None}
    script = Scripted().on("GET", "/v1/models", *pages)
    assert [m["id"] for m in script.client().models(None)] == ["mdl_1", "mdl_2"]
    assert script.asked[1].url.params["cursor"] == "c"
    assert len(Scripted().on("GET", "/v1/models", *pages).client().models(1)) == 1


def test_what_is_not_secateur_is_named() -> None:
    script = Scripted().on("GET", "/v1/jobs/job_1", httpx.Response(200, text="<html>"))
    with pytest.raises(SecateurError, match="what answers at http://test is not Secateur"):
        script.client().job("job_1")


def test_a_download_is_sent_on_without_the_key_and_goes_on_there(slept: Clock, tmp_path: Path) -> None:
    """The service's ETag is the content's hash, the storage's is its own: each is used for what it is good for."""
    there = {"etag": '"md5-2"'}
    on = httpx.Response(307, headers=ETAG | {"location": "https://storage/bucket/file?signed"})
    cut = httpx.Response(200, headers=there | {"content-length": "2048"}, stream=Cut(CONTENT[:700]))
    rest = httpx.Response(206, headers=there | {"content-range": "bytes 700-2047/2048"}, content=CONTENT[700:])
    script = Scripted().on("GET", "/v1/jobs/job_1", JOB).on("GET", FILE, on).on("GET", "/bucket/file", cut, rest)
    client = Secateur("http://test", "sct_secret", transport=httpx.MockTransport(script))
    (path,) = client.job("job_1").download(tmp_path, "pruned.onnx")
    assert path.read_bytes() == CONTENT
    sent = [request for request in script.asked if request.url.host == "storage"]
    assert len(sent) == 2 and not any("authorization" in request.headers for request in sent)
    assert sent[1].headers["range"] == "bytes=700-" and sent[1].headers["if-range"] == '"md5-2"'
    damaged = httpx.Response(200, headers=there, content=CONTENT[:-1])
    with pytest.raises(SecateurError, match=r"pruned\.onnx was damaged"):
        script.on("GET", "/bucket/file", damaged)
        client.job("job_1").download(tmp_path, "pruned.onnx")
    script.on("GET", "/bucket/file", httpx.ConnectError("refused"))
    with pytest.raises(Unreachable, match="storage, where the service keeps its files, does not answer: refused"):
        client.job("job_1").download(tmp_path, "pruned.onnx")

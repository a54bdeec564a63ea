"""What a receiver does with a message; and what the client sends and shows of webhooks."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from secateur import webhooks
from secateur.cli.app import main
from secateur.webhooks import Unverified, verify
from standardwebhooks import Webhook

from tests.unit.client.service import JOB, Scripted

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"type":"job.failed","data":{"name":"größer"}}'
NOW = 1_700_000_000


@pytest.fixture(autouse=True)
def _time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks.time, "time", lambda: NOW + 0.5)


def signed(at: int = NOW, secret: str = SECRET, body: str = BODY) -> dict[str, str]:
    """By the reference library."""
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(at, UTC), body)
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(at), "Webhook-Signature": signature}


def test_what_the_reference_library_signs_is_verified() -> None:
    for body in (BODY, BODY.encode()):
        assert verify(body, signed(), SECRET) == json.loads(BODY)
    assert verify(BODY, signed(), SECRET.removeprefix("whsec_")) == json.loads(BODY)
    both = signed() | {"Webhook-Signature": f"v1,AAAA v1a,x v1,ä {signed()['Webhook-Signature']}"}
    assert verify(BODY, both, SECRET) == json.loads(BODY)


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
def test_a_header_that_is_missing_or_changed_is_noticed(name: str) -> None:
    with pytest.raises(Unverified, match="not all there"):
        verify(BODY, {k: v for k, v in signed().items() if k != name}, SECRET)
    changed = {"Webhook-Id": "msg_2", "Webhook-Timestamp": str(NOW + 1), "Webhook-Signature": "v1,AAAA"}
    with pytest.raises(Unverified, match="not made with this secret"):
        verify(BODY, signed() | {name: changed[name]}, SECRET)


def test_another_body_or_secret_is_noticed() -> None:
    for body, secret in ((f"{BODY} ", SECRET), (BODY, "whsec_b2xkb2xkb2xkb2xkb2xkb2xk")):
        with pytest.raises(Unverified, match="not made with this secret"):
            verify(body, signed(), secret)


@pytest.mark.parametrize("at", [NOW - 301, NOW + 301])
def test_a_message_of_another_time_is_refused(at: int) -> None:
    with pytest.raises(Unverified, match="five minutes"):
        verify(BODY, signed(at), SECRET)


@pytest.mark.parametrize("at", ["nan", "inf", "-1", "1e9", "\u0661", "1700000000.0"])
def test_a_time_that_is_none_is_refused(at: str) -> None:
    with pytest.raises(Unverified):
        verify(BODY, signed() | {"Webhook-Timestamp": at}, SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!"])
def test_a_secret_that_is_none_is_said_to_be_none(secret: str) -> None:
    with pytest.raises(ValueError, match="the secret is"):
        verify(BODY, signed(), secret)


def test_a_job_is_posted_with_its_webhook_only_where_one_is_named() -> None:
    service = Scripted().on("POST", "/v1/jobs", JOB)
    client = service.client()
    client.submit("mdl_1", "dat_1", {}, webhook_url="https://hooks.example.com/", priority=-3)
    client.submit("mdl_1", "dat_1", {})
    sent = [json.loads(request.content) for request in service.asked]
    assert sent[0]["webhook_url"] == "https://hooks.example.com/" and "webhook_url" not in sent[1]
    assert sent[0]["priority"] == -3 and "priority" not in sent[1]


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    delivery = {"id": "msg_1", "type": "job.failed", "url": "https://hooks.example.com/", "status": "given_up"}
    delivery |= {"attempts": 10, "last_error": "it answered 500", "next_at": None}
    service = Scripted().on("POST", "/v1/jobs", JOB).on("GET", "/v1/jobs/job_1", JOB)
    for noun, id in (("models", "mdl_1"), ("datasets", "dat_1")):
        service.on("GET", f"/v1/{noun}/{id}", {"id": id, "status": "ready"})
    service.on("GET", "/v1/jobs/job_1/webhooks", {"items": [delivery]})
    service.on("POST", "/v1/jobs/job_1/webhooks/msg_1/resend", delivery)
    service.on("POST", "/v1/webhooks/secret/rotate", {"secret": SECRET, "previous_until": None})
    monkeypatch.setattr("secateur.cli.options.Secateur", lambda *_: service.client())
    hook = ("--webhook", "https://hooks.example.com/")
    assert main(["prune", "mdl_1", "dat_1", "--rate", "2", "--no-wait", *hook]) == 0
    [sent] = [json.loads(r.content) for r in service.asked if r.url.path == "/v1/jobs"]
    assert sent["webhook_url"] == hook[1]
    assert main(["webhooks", "ls", "job_1"]) == 0
    assert main(["webhooks", "resend", "job_1", "msg_1"]) == 0
    assert main(["webhooks", "secret", "--rotate"]) == 0
    said = capsys.readouterr().out
    for text in ("given_up", "it answered 500", "msg_1 is sent to https://hooks.example.com/ again", SECRET):
        assert text in said

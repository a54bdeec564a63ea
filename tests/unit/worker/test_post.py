"""One try: signed, sent to the address that was checked, judged, and over in time."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import httpcore
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from store.deliveries import Outcome, Taken
from store.settings import settings
from tests.receiver import Receiver, receiving
from worker.post import _trusted, headers, post, sign

SECRET, OLDER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "b2xk" * 8
PUBLIC = "93.184.216.34"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("SECATEUR_WEBHOOK_HOSTS", "127.0.0.0/8")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # no proxy is asked
    settings.cache_clear()
    with receiving() as it:
        yield it
    settings.cache_clear()


def taken(url: str, *secrets: str) -> Taken:
    payload = '{"type":"job.failed","data":{"name":"größer"}}'
    return Taken("msg_1", "job_1", "anna", "host", url, payload, 1, time.time(), secrets or (SECRET,))


def test_the_signature_is_that_of_the_standard() -> None:
    """The vector of the specification's own libraries."""
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}') == signature


def test_the_reference_library_verifies_what_was_sent(receiver: Receiver) -> None:
    assert post(taken(receiver.url(), SECRET, OLDER)) == Outcome()
    [(sent, body)] = receiver.got
    for secret in (SECRET, OLDER):
        assert Webhook(secret).verify(body, sent)["data"] == {"name": "größer"}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", sent)
    assert sent["Content-Type"] == "application/json" and sent["webhook-id"] == "msg_1"


def test_the_time_that_is_signed_is_the_databases() -> None:
    message = replace(taken("https://hooks.example.com/"), at=1614265330.9)
    assert headers(message)["webhook-timestamp"] == "1614265330"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome()),
        (500, Outcome("it answered 500")),
        (410, Outcome("it answered 410", is_final=True)),
        (404, Outcome("it answered 404")),
    ],
)
def test_the_status_decides(receiver: Receiver, status: int, outcome: Outcome) -> None:
    receiver.statuses = [status]
    assert post(taken(receiver.url())) == outcome


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    receiver.statuses = [status]
    said = post(taken(receiver.url())).error
    assert said is not None and f"answered {status}, and redirects are not followed" in said
    assert receiver.paths == ["/hook"]


def test_who_never_answers_is_left(receiver: Receiver) -> None:
    receiver.act = lambda _: (receiver.may_go.wait(), None)[1]
    assert post(taken(receiver.url()), seconds=0.2) == Outcome("no answer within 0.2 seconds")


def test_an_answer_in_drops_is_no_answer(receiver: Receiver) -> None:
    """Each wait is short, all of them together too long."""

    def drop(handler: BaseHTTPRequestHandler) -> None:
        while not receiver.may_go.wait(0.02):
            try:
                handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            except OSError:
                return

    receiver.act = drop
    assert post(taken(receiver.url()), seconds=0.3) == Outcome("no answer within 0.3 seconds")


def test_a_body_without_end_is_not_read(receiver: Receiver) -> None:
    def pour(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):  # until whoever sent the message hangs up
            while not receiver.may_go.is_set():
                handler.wfile.write(b"x" * 65536)

    receiver.act = pour
    assert post(taken(receiver.url())) == Outcome()


def test_what_is_no_http_is_said_to_be_none(receiver: Receiver) -> None:
    receiver.act = lambda handler: (handler.wfile.write(b"SSH-2.0-x\r\n\r\n"), None)[1]
    assert post(taken(receiver.url())) == Outcome("what it answered is not HTTP")


def test_a_port_where_nobody_listens(receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert post(taken(f"http://127.0.0.1:{port}/")) == Outcome("the connection was refused, or broke off")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses to which a connection was asked for; none is made."""
    asked: list[str] = []

    def connect_tcp(_: httpcore.SyncBackend, host: str, port: int, timeout: float) -> httpcore.NetworkStream:
        asked.append(host)
        raise httpcore.ConnectError("no network in tests")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_tcp)
    return asked


def test_a_name_that_is_bound_anew_does_not_lead_inside(called: list[str]) -> None:
    answers = [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]]
    failed = post(taken("https://hooks.example.com/"), lambda *_: answers.pop(0))
    assert (called, len(answers)) == ([PUBLIC], 2), "it was resolved once, and that address called"
    assert failed == Outcome("the connection was refused, or broke off")
    assert "not public" in str(post(taken("https://hooks.example.com/"), lambda *_: answers.pop(0)).error)
    assert called == [PUBLIC]


@pytest.mark.parametrize("inside", ["127.0.0.1", "::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "fe80::1%eth0", "?"])
def test_one_address_inside_is_enough_to_refuse_a_name(called: list[str], inside: str) -> None:
    failed = post(taken("https://hooks.example.com/"), lambda *_: [PUBLIC, inside])
    assert failed.error == "hooks.example.com leads to an address that is not public" and called == []


def test_a_literal_is_checked_when_it_is_called_too(called: list[str]) -> None:
    assert "not a public host" in str(post(taken("https://0x7f.1/")).error)
    assert "begin with https" in str(post(taken("http://hooks.example.com/")).error)
    assert called == []


def test_a_name_that_cannot_be_resolved_or_takes_too_long(called: list[str]) -> None:
    def fail(*_: object) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    gone = threading.Event()

    def hang(*_: object) -> list[str]:
        gone.wait()
        return []

    assert post(taken("https://hooks.example.com/"), fail) == Outcome("its name cannot be resolved")
    assert post(taken("https://hooks.example.com/"), hang, 0.1) == Outcome("no answer within 0.1 seconds")
    gone.set()


def test_tls_asks_for_the_name_and_not_for_the_address(receiver: Receiver) -> None:
    """Called where the name led to, under the name: its certificate is held against that."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        hello: list[bytes] = []

        def listen() -> None:
            with server.accept()[0] as connection:
                hello.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=listen)
        thread.start()
        url = f"https://hooks.example.com:{server.getsockname()[1]}/"
        failed = post(taken(url), lambda *_: ["127.0.0.1"])
        thread.join()
    assert b"hooks.example.com" in hello[0]
    assert failed == Outcome("it does not speak TLS as it should")
    assert _trusted().check_hostname and _trusted().verify_mode == ssl.CERT_REQUIRED

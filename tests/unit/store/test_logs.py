import io
import json
import logging
import threading

import pytest

from store import logs
from store.settings import settings


@pytest.fixture
def stream(monkeypatch):
    """What is logged, as these settings want it."""

    def configured(format: str) -> io.StringIO:
        monkeypatch.setenv("SECATEUR_LOG_FORMAT", format)
        settings.cache_clear()
        written = io.StringIO()
        monkeypatch.setattr("sys.stderr", written)
        monkeypatch.setattr("sys.excepthook", None)
        monkeypatch.setattr("threading.excepthook", None)
        logs.configure()
        return written

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []  # pytest's own are not to be closed
    yield configured
    root.handlers[:] = before
    root.setLevel(level)
    settings.cache_clear()


def lines(written: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_json_line_has_what_is_known(stream):
    written = stream("json")
    with logs.bound(job_id="job_1", attempt=2, trace_id=None):
        logging.getLogger("worker.x").warning("round %d", 3)
    logging.getLogger("worker.x").info("later")
    first, second = lines(written)
    assert first.pop("time").endswith("Z")
    assert first == {"level": "WARNING", "logger": "worker.x", "message": "round 3", "job_id": "job_1", "attempt": 2}
    assert set(second) == {"time", "level", "logger", "message"}


def test_a_text_line_has_it_too_and_the_traceback_below(stream):
    written = stream("text")
    with logs.bound(request_id="abc"):
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("a").exception("it failed")
    head, *traceback = written.getvalue().splitlines()
    assert head.endswith("ERROR a it failed request_id=abc") and traceback[-1] == "ValueError: why"


def test_what_a_thread_binds_is_known_to_who_waits_for_it(stream):
    import contextvars

    written = stream("json")
    with logs.bound(request_id="r"):
        copied = contextvars.copy_context()
        thread = threading.Thread(target=lambda: copied.run(logs.bind, owner="anna"))
        thread.start()
        thread.join()
        logging.getLogger("a").info("answered")
    logging.getLogger("a").info("next")
    first, second = lines(written)
    assert first["owner"] == "anna" and "owner" not in second


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("no postgresql+psycopg://anna:hunter2@db/x today", "no postgresql+psycopg://***@db/x today"),
        ("redis://:p%40ss@cache:6379/0", "redis://***@cache:6379/0"),
        ("https://u:p@ss/w@h/v1 and http://h:80/x", "https://***@h/v1 and http://h:80/x"),
        ("key sct_Abcdefgh-12_x is unknown", "key sct_*** is unknown"),
        ("Authorization: Bearer abc.def-ghi=", "Authorization: Bearer ***"),
        ("host=db password=hunter2 user=x", "host=db password=*** user=x"),
        ("{'password': 'hunter2'}", "{'password': '***'}"),
        ("a/b@c: 3:4@5", "a/b@c: 3:4@5"),
    ],
)
def test_secrets_are_taken_out(said, kept):
    assert logs.redacted(said) == kept


def test_secrets_are_taken_out_of_arguments_and_tracebacks(stream):
    written = stream("json")
    try:
        raise ConnectionError("redis://:hunter2@cache/0 refused")
    except ConnectionError as error:
        logging.getLogger("a").warning("broker: %s", error, exc_info=True)
    (line,) = lines(written)
    assert "hunter2" not in written.getvalue() and line["message"] == "broker: redis://***@cache/0 refused"
    assert "ConnectionError: redis://***@cache/0 refused" in line["traceback"]


def test_what_ends_a_thread_is_logged_without_secrets(stream):
    written = stream("json")

    def fails() -> None:
        raise RuntimeError("postgresql://u:hunter2@db/x")

    thread = threading.Thread(target=fails)
    thread.start()
    thread.join()
    (line,) = lines(written)
    assert line["level"] == "CRITICAL" and "postgresql://***@db/x" in line["traceback"]

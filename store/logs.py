"""Logs of all processes: one place says how a line looks, what it carries, and that no password is in it."""

import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from store.settings import settings

SECRETS = (
    (re.compile(r"(?<=://)[^\s/@'\"]*:[^\s'\"]*@"), "***@"),  # name and password of a URL, rather too much of it
    (re.compile(r"\bsct_[\w-]{8,}"), "sct_***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"(?i)\b(password|secret|token)(['\"]?\s*[=:]\s*['\"]?)[^\s'\",&;)]+"), r"\1\2***"),
)
TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s%(fields)s"
RENAMED = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}
_fields: ContextVar[dict[str, Any] | None] = ContextVar("fields", default=None)
log = logging.getLogger(__name__)


def configure() -> None:
    """Of this process: all loggers, and what ends it or a thread of it, to standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(enrich)
    handler.setFormatter(_json() if settings().log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    sys.excepthook = _unforeseen
    threading.excepthook = lambda ended: _unforeseen(ended.exc_type, ended.exc_value, ended.exc_traceback)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Lines that are logged within carry these; None is left out."""
    token = _fields.set({**(_fields.get() or {}), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def bind(**fields: object) -> None:
    """As bound, until its end; also from a thread that works for the one that is bound."""
    known = _fields.get()
    if known is None:
        _fields.set(dict(fields))
    else:
        known.update(fields)


def known(field: str) -> Any:
    """What is bound under this name; None where nothing is."""
    return (_fields.get() or {}).get(field)


def redacted(text: str) -> str:
    """Without what looks like a password or a key."""
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text


def enrich(record: logging.LogRecord) -> bool:
    """A filter that adds the fields, and takes secrets out of message and traceback."""
    fields = {k: v for k, v in (_fields.get() or {}).items() if v is not None and k not in record.__dict__}
    record.__dict__.update(fields)
    record.fields = "".join(f" {k}={v}" for k, v in fields.items())
    record.msg, record.args = redacted(record.getMessage()), None
    if record.exc_info:
        record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
        record.exc_info = None
    return True


def _json() -> JsonFormatter:
    reserved = {*vars(logging.makeLogRecord({})), "fields", "message", "asctime", "color_message", "taskName"}
    names = "%(asctime)s %(levelname)s %(name)s %(message)s"
    made = JsonFormatter(names, "%Y-%m-%dT%H:%M:%SZ", rename_fields=RENAMED, reserved_attrs=sorted(reserved))
    made.converter = time.gmtime
    return made


def _unforeseen(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    log.critical("an unforeseen error", exc_info=(kind, error, trace))

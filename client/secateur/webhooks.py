"""For those who receive webhooks: whether a message is the service's. Pure standard library: copy it at will."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

TOLERANCE_SECONDS = 300


class Unverified(ValueError):
    """This is no message of the service: answer 400, and do nothing."""


def verify(body: bytes | str, headers: Mapping[str, str], secret: str) -> dict[str, Any]:
    """The message, once its signature and its time are right (Standard Webhooks 1.0.0).

    A message may come twice: its `webhook-id` is the same then.
    Args: body: as it was received, before anything parses it; secret: whsec_..., of `secateur webhooks secret`.
    Raises: Unverified; ValueError: the secret is none.
    """
    raw = body.encode() if isinstance(body, str) else body
    given = {name.lower(): value for name, value in headers.items()}
    id, at, signatures = (given.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (id and at and signatures):
        raise Unverified("the headers webhook-id, webhook-timestamp and webhook-signature are not all there")
    if not (at.isascii() and at.isdigit()) or abs(time.time() - int(at)) > TOLERANCE_SECONDS:
        raise Unverified("its time is more than five minutes from this machine's: it is old, or a clock is wrong")
    expected = _signature(_key(secret), f"{id}.{at}.".encode() + raw)
    if not any(hmac.compare_digest(expected, one.encode()) for one in signatures.split(" ")):
        raise Unverified("its signature is not made with this secret, or the body is not as it was sent")
    return json.loads(raw)


def _signature(key: bytes, content: bytes) -> bytes:
    return b"v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256))


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret is not of the form whsec_...") from error
    if not key:
        raise ValueError("the secret is empty")
    return key

"""One try to deliver a message: signed as Standard Webhooks says, sent, and judged by the status alone."""

import base64
import hashlib
import hmac
import logging
import ssl
from functools import cache

import httpcore
import httpx

from store.addresses import BadAddress, checked
from store.deliveries import Outcome, Taken
from store.settings import settings
from worker.network import Checked, Deadline, Resolve, Unresolved

SECONDS = 10  # for all of it: name, connection, TLS, request, answer
GONE = 410
log = logging.getLogger(__name__)


def post(taken: Taken, resolve: Resolve | None = None, seconds: float = SECONDS) -> Outcome:
    """2xx is delivered, 410 ends it, all else failed; no redirect is followed, no body read, no proxy asked."""
    own = settings().webhook_hosts
    backend = Checked(own, Deadline(seconds), resolve)
    try:
        url = checked(taken.url, own)  # the setting may have changed since the job was posted
        # a pool of its own for each message: no connection is used again, so each one was checked
        with (
            httpcore.ConnectionPool(ssl_context=_trusted(), network_backend=backend) as pool,
            pool.stream("POST", url, headers=headers(taken), content=taken.payload.encode()) as response,
        ):
            return _judged(response.status)
    except BadAddress as error:
        return Outcome(str(error))
    except httpcore.TimeoutException:
        return Outcome(f"no answer within {seconds:g} seconds")
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        log.info("message %s to %s failed: %r", taken.id, taken.host, error)
        return Outcome(_sentence(error))


def headers(taken: Taken) -> dict[bytes | str, bytes | str]:
    """What a receiver verifies; two signatures while the secret before the present one still holds."""
    at = int(taken.at)
    return {
        "Content-Type": "application/json",
        "User-Agent": "Secateur-Webhooks/1",
        "webhook-id": taken.id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(sign(secret, taken.id, at, taken.payload) for secret in taken.secrets),
    }


def sign(secret: str, id: str, at: int, payload: str) -> str:
    """Source: Standard Webhooks 1.0.0, signature scheme v1."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{id}.{at}.{payload}".encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _judged(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome()
    if 300 <= status < 400:
        return Outcome(f"it answered {status}, and redirects are not followed; post jobs with the address it leads to")
    return Outcome(f"it answered {status}", is_final=status == GONE)


def _sentence(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "it does not speak TLS as it should"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpcore.ProtocolError):
        return "what it answered is not HTTP"
    return (
        "its name cannot be resolved" if isinstance(error, Unresolved) else "the connection was refused, or broke off"
    )


@cache
def _trusted() -> ssl.SSLContext:
    """SSL_CERT_FILE names other authorities, for receivers of your own."""
    return httpx.create_ssl_context()

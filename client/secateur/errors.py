"""What can go wrong: one tree; the message is a sentence for the user."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

PASSING = (423, 429, 502, 503, 504)  # the same request may succeed a moment later
AWAY = (502, 503, 504)


class SecateurError(Exception):
    """The service refused, or a job failed.

    status: the HTTP status, None where there was none; errors: `{pointer, detail}` of each fault of a plan or request.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.errors, self.retry_after = status, list(errors), retry_after

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.status in PASSING


class Unreachable(SecateurError):
    """The service does not answer."""

    @property
    def is_passing(self) -> bool:
        """Always: it may come back."""
        return True


class Rejected(SecateurError):
    """The service examined an upload and cannot use it."""


class JobEnded(SecateurError):
    """A job failed or was cancelled; `state` is what the service says of it."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        super().__init__(f"job {state['id']} {state['status']}: {state.get('error') or ''}".rstrip(": "))
        self.state = state


class BadPlan(ValueError):
    """A plan that is wrong before anyone is asked."""


def refusal(response: httpx.Response) -> SecateurError:
    """The error that a response stands for; its body has been read."""
    status = response.status_code
    kind = Unreachable if status in AWAY else SecateurError
    try:
        body = response.json()
        detail, errors = str(body["detail"]), body.get("errors") or ()
    except (ValueError, KeyError, TypeError, AttributeError):  # a proxy's page, not a problem of ours
        detail, errors = f"{response.request.url.copy_with(query=None)} answered {status}", ()
    return kind(detail, status, errors, _seconds(response.headers.get("retry-after", "")))


def _seconds(text: str) -> float | None:
    """Retry-After in seconds; the other form, a date, is left to our own pauses."""
    return float(text) if text.isdigit() else None

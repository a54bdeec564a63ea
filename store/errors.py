"""What can go wrong with rows; a class's docstring is its default message."""


class StoreError(Exception):
    """The request cannot be met."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class NotFound(StoreError):
    """There is nothing with this id."""


class Gone(StoreError):
    """It was there, and its time has run out."""


class Conflict(StoreError):
    """The state of the thing forbids this."""


class IdempotencyMismatch(StoreError):
    """This Idempotency-Key was used with another body; use a new key for a new job."""


class Fenced(StoreError):
    """Another attempt owns this row now; what this one writes is refused."""

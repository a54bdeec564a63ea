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


class UnfitOwner(StoreError):
    """An owner's name begins with a letter or a digit, and has at most 100 letters, digits and . _ @ + - in all."""


class QueueFull(StoreError):
    """Too many jobs of this account wait; try again when one of them has begun."""

    def __init__(self, retry_after: int, message: str) -> None:
        super().__init__(f"{message}; try again later, or cancel one")
        self.retry_after = retry_after

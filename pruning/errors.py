"""Everything that can go wrong in a pruning job; a class's docstring is its default message."""

import re

SIGNS_OF_NO_MEMORY = ("out of memory", "allocate memory", "bad_alloc", "could not create a primitive")


class PruningError(Exception):
    """The job could not be done."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class InvalidPlan(PruningError):
    """The plan does not fit the model.

    pointer: JSON pointer to the field of the plan at fault, such as /layers/0/match.
    """

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


class RejectedModel(PruningError):
    """The model cannot be pruned here."""


class UnsupportedOperator(RejectedModel):
    """The model holds an operator, or a form of one, that cannot be trained here."""


class UnreadableDataset(PruningError):
    """The data set cannot be read."""


class DatasetMismatch(PruningError):
    """The data set does not fit the model."""


class Diverged(PruningError):
    """W, U, rho or the loss stopped being finite: lower rho, its growth or the learning rate."""


class OutOfMemory(PruningError):
    """The job needs more memory than it may use: lower train.batch_size, or use a larger machine."""


def first_line(error: BaseException) -> str:
    """What a library said, as part of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ascii(re.sub(r"\x1b\[[\d;]*m|0x[0-9a-fA-F]+", "", lines[0])[:200])[1:-1]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, torch, oneDNN or ONNX Runtime means that there was no memory left."""
    said = str(error).lower()
    return isinstance(error, MemoryError | OutOfMemory) or any(sign in said for sign in SIGNS_OF_NO_MEMORY)


class WrongDelivery(PruningError):
    """The delivered file does not compute what the trained network computes; nothing was delivered: please report this
    model. deliver.remove: false delivers the graph as it is.
    """


class LostProcess(PruningError):
    """One of the processes that train together ended early, killed or crashed: try again, with fewer processes if it
    happens again.
    """


class Cancelled(PruningError):
    """The job was cancelled."""


class NotPacked(PruningError):
    """The model cannot be packed: deliver it as it is."""

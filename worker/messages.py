"""What the process of one piece of work says to its supervisor: lines of JSON over a pipe.

The process reads files of strangers, so that nothing it says is believed beyond its form: the supervisor writes the
rows, and only those of this attempt.
"""

import os
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pruning.phases import Phase

LONGEST = 2**26  # bytes of a message: the analysis of a net of many layers
FileName = Annotated[str, Field(pattern=r"^[\w.-]{1,100}$")]
Text = Annotated[str, Field(max_length=20_000)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class PhaseBegins(_Message):
    """A part of the job begins."""

    kind: Literal["phase"] = "phase"
    name: Phase
    progress: float


class Progress(_Message):
    """How far it is, about once a second."""

    kind: Literal["progress"] = "progress"
    progress: float
    eta_seconds: float | None


class Round(_Message):
    """Numbers of a round that has ended; see pruning.listener.Metric."""

    kind: Literal["round"] = "round"
    step: int
    phase: Phase
    round: int
    measure: str
    values: dict[str, float | None]
    layers: dict[str, float | None]


class Warned(_Message):
    """Something to look into."""

    kind: Literal["warning"] = "warning"
    text: Text


class Saved(_Message):
    """A checkpoint lies in the process's folder."""

    kind: Literal["checkpoint"] = "checkpoint"
    file: FileName


class StartsOver(_Message):
    """The checkpoint that it was given could not be read."""

    kind: Literal["starts_over"] = "starts_over"


class Failed(_Message):
    """The job cannot be done; the reason is for its owner."""

    kind: Literal["failed"] = "failed"
    error: Text


class Delivered(_Message):
    """The results lie in the process's folder; result: pruning.result.Result as JSON."""

    kind: Literal["delivered"] = "delivered"
    files: list[FileName]
    result: dict[str, Any]


class Judged(_Message):
    """An upload was looked at; facts: columns of its row."""

    kind: Literal["judged"] = "judged"
    problems: list[Text]
    facts: dict[str, Any]


Message = PhaseBegins | Progress | Round | Warned | Saved | StartsOver | Failed | Delivered | Judged
_ANY: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


class Garbled(Exception):
    """The process said something that no process of ours says."""


class Voice:
    """The process's end of the pipe."""

    def __init__(self, handle: int) -> None:
        self._pipe = os.fdopen(handle, "wb")

    def say(self, message: Message) -> None:
        """Blocks while the supervisor has not read what was said before. Raises: BrokenPipeError: it is gone."""
        self._pipe.write(message.model_dump_json().encode() + b"\n")
        self._pipe.flush()

    def close(self) -> None:
        """Nothing more will be said."""
        self._pipe.close()


def heard(handle: int) -> Iterator[Message]:
    """The supervisor's end: messages until the process and all that it started have gone.

    Raises: Garbled.
    """
    with os.fdopen(handle, "rb") as pipe:
        while line := pipe.readline(LONGEST):
            if not line.endswith(b"\n"):
                if len(line) == LONGEST:
                    raise Garbled(f"a message of more than {LONGEST:,} bytes")
                return  # killed in the middle of a word
            try:
                yield _ANY.validate_json(line)
            except ValidationError as error:
                raise Garbled(f"{error.error_count()} faults in {line[:80]!r}") from error

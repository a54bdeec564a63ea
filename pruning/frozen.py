"""The bases of every value that a client may send or receive."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Frozen(BaseModel):
    """Immutable; unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Asked(Frozen):
    """What clients write as JSON, held to its schema: neither "5" nor true is a number. 5.0 is a whole one."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _as_python(cls, given: Any) -> Any:
        return {k: _as_python(v) for k, v in given.items()} if isinstance(given, dict) else given


def _as_python(value: Any) -> Any:
    """In strict mode a list is no tuple. Raises: ValueError: what can be no text anywhere else."""
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"holds half a character: {value[:40]!a}")
    if isinstance(value, list):
        return tuple(_as_python(v) for v in value)
    return int(value) if isinstance(value, float) and value.is_integer() else value

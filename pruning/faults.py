"""What is wrong with a value, in our words instead of a validator's. Importable without torch."""

from typing import Any

MOST = 40  # characters of a value that is refused


def sentence(error: Any) -> str:
    """Of one of pydantic's ErrorDetails, without where it is and without a full stop."""
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    if error["type"] in ("union_tag_not_found", "model_attributes_type", "model_type"):
        return 'send an object here, such as {"kind": "filter"} for a pattern or {"bits": 4} for quantize'
    if error["type"] == "union_tag_invalid":
        return f"must be one of {error['ctx']['expected_tags']}; got {error['ctx']['tag'][:MOST]!r}"
    if error["type"] == "missing":
        return "is missing"
    text = str(error["msg"]).removeprefix("Value error, ").partition(", unable to")[0]
    if not text.startswith("Input should "):
        return text
    given = error.get("input")
    got = f"; got {given!r}" if isinstance(given, int | float | str) and len(str(given)) <= MOST else ""
    return f"{text.replace('Input should ', 'must ', 1)}{got}"

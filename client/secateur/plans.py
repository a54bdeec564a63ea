"""Plans made from options and files; whether they make sense is the service's to say."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from secateur.errors import BadPlan

BUDGETS = {  # by option
    "rate": "pruning_rate",
    "sparsity": "sparsity",
    "max_drop": "max_accuracy_drop",
    "multiply_adds": "multiply_adds_share",
    "bytes": "bytes",
}
Plan = dict[str, Any]


def read(path: Path) -> tuple[Plan, dict[str, Any]]:
    """The plan in a file, and how its data was read: that is known of a manifest.json or report.json.

    Raises: OSError; BadPlan: it is no JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadPlan(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadPlan(f'{path} is not a plan: it must hold an object, such as {{"budget": {{"pruning_rate": 10}}}}')
    manifest = document.get("manifest", document)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("plan"), dict):
        return document, {}
    return manifest["plan"], _reading(manifest)


def flag(name: str) -> str:
    """An option of the command line."""
    return f"--{name.replace('_', '-')}"


def build(
    plan: Mapping[str, Any],
    budget: Mapping[str, float | None],
    option: Callable[[str], str] = flag,
    **parts: Any,
) -> Plan:
    """A plan with what options say instead: `budget` by option, and method, pattern or bits.

    Args: option: how options are called in messages. Raises: BadPlan: more than one budget, or none.
    """
    given = {name: value for name, value in budget.items() if value is not None}
    if len(given) > 1:
        raise BadPlan(f"give only one of {', '.join(map(option, given))}")
    built = dict(plan)
    for name, value in given.items():
        built["budget"] = {BUDGETS[name]: value}
    if parts.get("method"):
        built["method"] = parts["method"]
    if parts.get("pattern"):
        built["pattern"] = {"kind": parts["pattern"]}
    if parts.get("bits") is not None:
        built["quantize"] = {**(built.get("quantize") or {}), "bits": parts["bits"]}
    check(built, option)
    return built


def check(plan: Mapping[str, Any], option: Callable[[str], str] = flag) -> None:
    """Raises: BadPlan: it has no budget, or several."""
    budget = plan.get("budget")
    if budget is None:
        raise BadPlan(f"how much may stay? Give one of {', '.join(map(option, BUDGETS))}, or a plan with a budget")
    named = [k for k, v in budget.items() if v is not None] if isinstance(budget, dict) else []
    if len(named) != 1 or named[0] not in BUDGETS.values():
        raise BadPlan(f"the plan's budget must be exactly one of {', '.join(BUDGETS.values())}")


def _reading(manifest: Mapping[str, Any]) -> dict[str, Any]:
    known = {"format": manifest.get("data_format"), **(manifest.get("preprocess") or {})}
    return {name: value for name, value in known.items() if value is not None}

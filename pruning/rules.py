"""Exceptions that a plan makes for layers whose names match. Importable without torch."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from pruning.analysis import Layer
from pruning.errors import InvalidPlan


class Rule(Protocol):
    """Anything with the name of a layer or its weight, in which * and ? are wildcards."""

    @property
    def match(self) -> str: ...  # noqa: D102


R = TypeVar("R", bound=Rule)


def rule_of_each(rules: Sequence[R], layers: Sequence[Layer], pointer: str) -> dict[str, tuple[int, R]]:
    """Place and rule of each layer that one matches, by the layer's name; the last that matches counts.

    Args: pointer: JSON pointer to the rules in the plan. Raises: InvalidPlan: a rule matches nothing.
    """
    found: dict[str, tuple[int, R]] = {}
    for i, rule in enumerate(rules):
        matched = [x.name for x in layers if fnmatchcase(x.name, rule.match) or fnmatchcase(x.weight, rule.match)]
        if not matched:
            names = ", ".join(x.name for x in layers[:20])
            raise InvalidPlan(f"{rule.match!r} matches no layer; the layers are {names}", f"{pointer}/{i}/match")
        found |= dict.fromkeys(matched, (i, rule))
    return found

"""What a plan may say."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from pruning.plan import SETTINGS, Budget, Plan
from pruning.sparsity import PATTERNS

router = APIRouter(prefix="/v1/methods", tags=["methods"])


class MethodsOut(BaseModel):
    """JSON Schemas: of a whole plan, of each method's own settings, of each pattern, of the budget."""

    plan: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    patterns: dict[str, dict[str, Any]]
    budget: dict[str, Any]


@router.get("", response_model=MethodsOut)
def methods() -> MethodsOut:
    """Schemas from which forms can be made."""
    return MethodsOut(
        plan=Plan.model_json_schema(),
        methods={name: {k: v.model_json_schema() for k, v in parts.items()} for name, parts in SETTINGS.items()},
        patterns={name: pattern.model_json_schema() for name, pattern in PATTERNS.items()},
        budget=Budget.model_json_schema(),
    )

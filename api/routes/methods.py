"""What a plan may say."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from pruning.plan import Admm, Budget, Plan, Retrain
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
    direct = {"admm": Admm.model_json_schema(), "retrain": Retrain.model_json_schema()}
    return MethodsOut(
        plan=Plan.model_json_schema(),
        methods={"direct": direct},
        patterns={name: pattern.model_json_schema() for name, pattern in PATTERNS.items()},
        budget=Budget.model_json_schema(),
    )

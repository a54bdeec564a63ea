"""What a plan may say."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from api.routes.datasets import FORMATS
from pruning.analysis import Preprocess
from pruning.phases import PHASES
from pruning.plan import SETTINGS, Budget, Plan
from pruning.sparsity import PATTERNS

router = APIRouter(prefix="/v1/methods", tags=["methods"])


class MethodsOut(BaseModel):
    """JSON Schemas: of a whole plan, of each method's own settings, of each pattern, of the budget, of preprocessing.

    formats: of data sets, in words; phases: of a job, and what to expect of them.
    """

    plan: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    patterns: dict[str, dict[str, Any]]
    budget: dict[str, Any]
    preprocess: dict[str, Any]
    formats: dict[str, str]
    phases: dict[str, str]


@router.get("", response_model=MethodsOut)
def methods() -> MethodsOut:
    """Schemas from which forms can be made."""
    return MethodsOut(
        plan=Plan.model_json_schema(),
        methods={name: {k: v.model_json_schema() for k, v in parts.items()} for name, parts in SETTINGS.items()},
        patterns={name: pattern.model_json_schema() for name, pattern in PATTERNS.items()},
        budget=Budget.model_json_schema(),
        preprocess=Preprocess.model_json_schema(),
        formats=FORMATS,
        phases={name: text for name, text in PHASES.items()},  # noqa: C416 - keys are literals
    )

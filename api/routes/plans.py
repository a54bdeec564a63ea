"""Plans, held against a model before any job."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.auth import Owner
from api.deps import Read
from api.problems import PROBLEM
from api.routes.uploads import require_ready
from pruning.analysis import Analysis, DatasetSummary
from pruning.budgets import highest_rate, settle
from pruning.check import check, check_teacher
from pruning.costs import Part
from pruning.frozen import Asked
from pruning.plan import Plan
from pruning.settings import ID
from store import uploads
from store.tables import Dataset, Model

router = APIRouter(prefix="/v1/plans", tags=["jobs"], responses={404: PROBLEM})


class PlanIn(Asked):
    """A plan, and what it is for where that is known."""

    model_config = ConfigDict(protected_namespaces=())

    plan: Plan = Field(examples=[{"budget": {"pruning_rate": 20}}])
    model_id: str | None = Field(default=None, pattern=ID)
    dataset_id: str | None = Field(default=None, pattern=ID)


class PlannedLayer(BaseModel):
    """What a plan means for a layer."""

    name: str
    kind: str
    weights: int
    keeps: int | None = Field(description="Weights that stay; null where training decides it.")
    pattern: str | None = Field(description="null: the layer stays dense.")
    excluded: bool = Field(description="By a rule of the plan.")


class PlanOut(BaseModel):
    """The plan with all defaults, and what it means."""

    plan: dict[str, Any]
    layers: list[PlannedLayer]
    highest_rate: float | None = Field(description="The highest pruning rate that its rules and patterns leave.")


@router.post("/check", response_model=PlanOut, responses={409: PROBLEM, 422: PROBLEM})
def examine(session: Read, owner: Owner, body: PlanIn) -> PlanOut:
    """Whether a job would be taken, without making one; 422 says what is wrong with the plan."""
    whole = body.plan.model_dump(mode="json")
    if body.model_id is None:
        return PlanOut(plan=whole, layers=[], highest_rate=None)
    layers = hold(session, owner, body.plan, body.model_id, body.dataset_id).layers
    parts = settle(body.plan, layers).costs.parts
    return PlanOut(plan=whole, layers=[_planned(part) for part in parts], highest_rate=highest_rate(body.plan, layers))


def hold(session: Session, owner: str, plan: Plan, model_id: str, dataset_id: str | None) -> Analysis:
    """The analysis of the model that a plan fits.

    Raises: NotFound, Problem 409 or 422, InvalidPlan, DatasetMismatch.
    """
    model = uploads.get(session, Model, owner, model_id)
    dataset = uploads.get(session, Dataset, owner, dataset_id) if dataset_id is not None else None
    require_ready(model)
    analysis = Analysis.model_validate(model.analysis)
    if dataset is None:
        settle(plan, analysis.layers)
    else:
        require_ready(dataset)
        check(plan, analysis, DatasetSummary.model_validate(dataset.summary))
    if (teacher_id := plan.distill.teacher) is not None:
        teacher = uploads.get(session, Model, owner, teacher_id)
        require_ready(teacher)
        check_teacher(analysis, Analysis.model_validate(teacher.analysis))
    return analysis


def _planned(part: Part) -> PlannedLayer:
    layer, rule, pattern = part.layer, part.rule, part.pattern
    keeps = None
    if pattern is None:
        keeps = layer.weights
    elif pattern.kind == "n_m":
        keeps = layer.weights * pattern.n // pattern.m
    elif rule is not None and rule.sparsity is not None:
        keeps = round(layer.weights * (1 - rule.sparsity))
    return PlannedLayer(
        name=layer.name,
        kind=layer.kind,
        weights=layer.weights,
        keeps=keeps,
        pattern=pattern.kind if pattern else None,
        excluded=rule is not None and rule.exclude,
    )

"""What a client asks for. Importable without torch; forms and OpenAPI are made from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pruning.frozen import Asked, Frozen
from pruning.settings import (
    HIGHEST_RHO,
    Admm,
    Deliver,
    Distill,
    Gradual,
    Joint,
    Progressive,
    Quantize,
    Rate,
    Retrain,
    Search,
    Train,
)
from pruning.sparsity.block import Block
from pruning.sparsity.channel import Channel
from pruning.sparsity.column import Column
from pruning.sparsity.filter import Filter
from pruning.sparsity.kernel import Kernel
from pruning.sparsity.n_m import NM
from pruning.sparsity.unstructured import Unstructured

Pattern = Annotated[
    Unstructured | Filter | Channel | Column | Kernel | Block | NM, Field(discriminator="kind", description="The set.")
]
Method = Literal["direct", "progressive", "joint", "gradual"]


class Budget(Asked):
    """How much may stay: exactly one of the fields."""

    pruning_rate: Rate | None = Field(
        default=None,
        description="Weights before / weights kept (x-fold): 10 keeps a tenth.",
        examples=[10],
    )
    sparsity: float | None = Field(
        default=None, ge=0, lt=1, description="Share of the weights that become zero: 0.9 keeps a tenth."
    )
    multiply_adds_share: float | None = Field(
        default=None, gt=0, le=1, description="Share of the dense model's multiply-adds that stays: 0.5 halves them."
    )
    bytes: int | None = Field(
        default=None,
        ge=1,
        description="Bytes of packed.onnx at most; of pruned.onnx after gzip -9 without deliver.pack.",
    )
    max_accuracy_drop: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="How much of the metric may be lost, as a share: 0.005 is half a point of accuracy. The highest "
        "rate that keeps it is searched for, each trial from the last.",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of {', '.join(type(self).model_fields)}; got {', '.join(given) or 'none'}"
            )
        return self

    @property
    def is_search(self) -> bool:
        """Whether what may stay is found out while training."""
        return self.max_accuracy_drop is not None

    @property
    def names_rate(self) -> bool:
        """Whether the rate is known before any work."""
        return self.max_accuracy_drop is None and self.bytes is None

    @property
    def rate(self) -> float:
        """What was there / what may stay, of weights or multiply-adds; 1 where it is not known yet."""
        if self.sparsity is not None:
            return 1 / (1 - self.sparsity)
        if self.multiply_adds_share is not None:
            return 1 / self.multiply_adds_share
        return self.pruning_rate or 1.0

    def at(self, rate: float) -> Budget:
        """The same kind of budget at another rate; of weights where the budget names neither."""
        if self.multiply_adds_share is not None:
            return Budget(multiply_adds_share=1 / rate)
        return Budget(pruning_rate=rate)

    def kept_of(self, total: int) -> int:
        """Number of weights (or multiply-adds) that may stay out of `total`, rounded down: the rate is never missed."""
        if self.pruning_rate is not None:
            return int(total / self.pruning_rate)
        if self.multiply_adds_share is not None:
            return int(round(total * self.multiply_adds_share, 6))
        return int(round(total * (1 - (self.sparsity or 0.0)), 6))


class LayerRule(Asked):
    """An exception for the layers whose name matches; the last rule that matches a layer counts."""

    match: str = Field(min_length=1, description="Name of a layer or its weight; * and ? are wildcards.")
    exclude: bool = Field(default=False, description="Keep these layers dense.")
    sparsity: float | None = Field(default=None, ge=0, lt=1, description="Share of zeros in each of these layers.")
    pattern: Pattern | None = Field(default=None, description="Pattern of these layers, instead of the plan's.")
    rho: float | None = Field(default=None, gt=0, le=HIGHEST_RHO, description="Penalty of these layers at the start.")

    @model_validator(mode="after")
    def _says_something(self) -> LayerRule:
        asks = [name for name in ("sparsity", "pattern", "rho") if getattr(self, name) is not None]
        if self.exclude == bool(asks):
            raise ValueError('give either "exclude": true or some of "sparsity", "pattern", "rho"')
        if isinstance(self.pattern, NM) and self.sparsity not in (None, 1 - self.pattern.n / self.pattern.m):
            raise ValueError(
                f"{self.pattern.n} of {self.pattern.m} is a sparsity of {1 - self.pattern.n / self.pattern.m}"
            )
        return self


SETTINGS: dict[Method, dict[str, type[Frozen]]] = {  # by method
    "direct": {"admm": Admm, "retrain": Retrain},
    "progressive": {"admm": Admm, "retrain": Retrain, "progressive": Progressive, "search": Search},
    "gradual": {"gradual": Gradual, "retrain": Retrain},
    "joint": {"admm": Admm, "retrain": Retrain, "joint": Joint},
}


class Plan(Asked):
    """A whole pruning job; {"budget": {"pruning_rate": 10}} is enough."""

    method: Method = Field(
        default="direct",
        description="direct: one ADMM run to the goal; progressive: partial models at rising rates, the way to high "
        "rates and the only one to max_accuracy_drop, for which it is the default; joint: connections and neurons; "
        "gradual: a rate that rises while training, without ADMM, for the highest rates.",
    )
    pattern: Pattern = Unstructured()
    budget: Budget
    allocation: Literal["global", "uniform", "lamp", "erk"] = Field(
        default="global",
        description="global: the largest weights of the whole net stay; uniform: the same share in each layer; lamp: "
        "the largest by their share in what their layer would keep; erk: more of small layers, by their shape.",
    )
    importance: Literal["magnitude", "fisher"] = Field(
        default="magnitude",
        description="What makes a weight large: its magnitude, or that times the root of the mean square of its "
        "gradient (the diagonal of Fisher's matrix), an estimate of what the loss would rise by without it.",
    )
    layers: tuple[LayerRule, ...] = Field(default=(), max_length=1000)
    admm: Admm = Admm()
    retrain: Retrain = Retrain()
    progressive: Progressive = Progressive()
    search: Search = Search()
    joint: Joint = Joint()
    gradual: Gradual = Gradual()
    quantize: Quantize | None = None
    distill: Distill = Distill()
    train: Train = Train()
    deliver: Deliver = Deliver()

    @model_validator(mode="before")
    @classmethod
    def _search_is_progressive(cls, given: Any) -> Any:
        """The method that a budget needs, where none is named."""
        budget = given.get("budget") if isinstance(given, dict) else None
        wanted = (
            budget.get("max_accuracy_drop") if isinstance(budget, dict) else getattr(budget, "max_accuracy_drop", None)
        )
        return {**given, "method": "progressive"} if wanted is not None and "method" not in given else given

    @model_validator(mode="after")
    def _fits_together(self) -> Plan:
        if self.budget.is_search and self.method != "progressive":
            raise ValueError(
                f'max_accuracy_drop is a search over rates: use "method": "progressive", not {self.method}'
            )
        if self.distill.teacher is not None and not self.distill.weight and self.train.loss != "distill":
            raise ValueError("a teacher without a share in the loss teaches nothing: give distill.weight")
        rates, goal = self.progressive.rates, self.budget.rate
        if self.method == "progressive" and rates and self.budget.names_rate and rates[-1] >= goal:
            raise ValueError(f"progressive.rates are those before the goal, all below {goal:g}; got {rates[-1]:g}")
        if self.method == "joint" and self.pattern.kind != "unstructured":
            raise ValueError("joint prunes single weights and whole units: its pattern is unstructured")
        return self

    def may_remove(self) -> bool:
        """Whether channels may leave the graph: not where m consecutive inputs belong together."""
        rules = [rule.pattern for rule in self.layers if rule.pattern is not None]
        return self.deliver.remove and all(pattern.kind != "n_m" for pattern in (self.pattern, *rules))

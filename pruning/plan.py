"""What a client asks for. Importable without torch; forms and OpenAPI are made from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pruning.frozen import Frozen
from pruning.sparsity.unstructured import Unstructured

Pattern = Unstructured


class Budget(Frozen):
    """How much may stay: exactly one of the fields."""

    pruning_rate: float | None = Field(
        default=None,
        ge=1,
        le=1e6,
        description="Weights before / weights kept (x-fold): 10 keeps a tenth.",
        examples=[10],
    )
    sparsity: float | None = Field(
        default=None, ge=0, lt=1, description="Share of the weights that become zero: 0.9 keeps a tenth."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of {', '.join(type(self).model_fields)}; got {', '.join(given) or 'none'}"
            )
        return self

    def kept_of(self, total: int) -> int:
        """Number of weights that may stay out of `total`, rounded down: the rate is never missed."""
        if self.pruning_rate is not None:
            return int(total / self.pruning_rate)
        return int(round(total * (1 - (self.sparsity or 0.0)), 6))


class LayerRule(Frozen):
    """An exception for the layers whose name matches; the last rule that matches a layer counts."""

    match: str = Field(min_length=1, description="Name of a layer or its weight; * and ? are wildcards.")
    exclude: bool = Field(default=False, description="Keep these layers dense.")
    sparsity: float | None = Field(default=None, ge=0, lt=1, description="Share of zeros in each of these layers.")

    @model_validator(mode="after")
    def _says_one_thing(self) -> LayerRule:
        if self.exclude == (self.sparsity is not None):
            raise ValueError('give either "exclude": true or "sparsity"')
        return self


class Admm(Frozen):
    """The recursion (direct ADMM): a round is a W-step, then one update of Z and U."""

    rounds: int = Field(default=10, ge=1, le=1000, description="Updates of Z and U.")
    epochs_per_round: float = Field(
        default=0.5, gt=0, le=100, description="Passes over the training data in each W-step; 0.5 is half a pass."
    )
    rho: float = Field(default=3e-3, gt=0, le=1e3, description="Penalty at the start.")
    rho_growth: float = Field(default=1.3, ge=1, le=10, description="Factor on rho after each round.")
    learning_rate: float = Field(default=5e-4, gt=0, le=1, description="Adam's learning rate in the W-step.")


class Retrain(Frozen):
    """Masked retraining: pruned weights stay zero."""

    epochs: int = Field(default=5, ge=0, le=10_000, description="Passes over the training data after the hard prune.")
    learning_rate: float = Field(
        default=1e-3, gt=0, le=1, description="Adam's learning rate at the start; it falls to 0."
    )


class Train(Frozen):
    """How every training step is done."""

    loss: Literal["auto", "cross_entropy", "binary_cross_entropy", "mse", "distill"] = Field(
        default="auto",
        description="What training lowers; auto: what fits the targets. distill: the distance from what the dense "
        "model gives, also where there are labels; the only one without labels, besides mse for a regression net.",
    )
    output: str | None = Field(default=None, description="Output that the targets are for; null: the first.")
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Examples in a training step; null: 128, fewer where an epoch would have less than 50 steps.",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="Fixes the order of the examples and the validation split."
    )
    validation_share: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of the training data held out to choose models, where the data set has no x_val.",
    )
    insert_batch_norm: bool | None = Field(
        default=None,
        description="Put BatchNormalization behind each convolution with a bias, changing nothing at first, train with "
        "it and fold it back at delivery; null: where an exporter seems to have folded it away.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto takes CUDA where it is there.")


SETTINGS: dict[str, dict[str, type[Frozen]]] = {"direct": {"admm": Admm, "retrain": Retrain}}  # by method


class Plan(Frozen):
    """A whole pruning job; {"budget": {"pruning_rate": 10}} is enough."""

    method: Literal["direct"] = "direct"
    pattern: Pattern = Pattern()
    budget: Budget
    allocation: Literal["global", "uniform"] = Field(
        default="global",
        description="global: the largest weights of the whole net stay; uniform: the same share in each layer.",
    )
    layers: tuple[LayerRule, ...] = Field(default=(), max_length=1000)
    admm: Admm = Admm()
    retrain: Retrain = Retrain()
    train: Train = Train()

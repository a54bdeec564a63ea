"""The settings of a plan's parts: of each method, of training, quantization and delivery. Importable without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pruning.frozen import Asked

ID = r"^[A-Za-z0-9_-]{1,64}$"  # of models and all else that has one
HIGHEST_RATE = 1_000_000
HIGHEST_RHO = 1e3
Rate = Annotated[float, Field(ge=1, le=HIGHEST_RATE)]


class Admm(Asked):
    """The weights, W, are trained while they are pulled to Z, the nearest pruned net, drawn anew each round."""

    rounds: int = Field(
        default=10, ge=1, le=1000, description="How often Z is drawn anew; between two, the weights are trained."
    )
    epochs_per_round: float = Field(
        default=0.5, gt=0, le=100, description="Passes over the training data in each round; 0.5 is half a pass."
    )
    rho: float = Field(
        default=3e-3,
        gt=0,
        le=HIGHEST_RHO,
        description="Penalty at the start: how strongly the weights are pulled to the nearest pruned net, Z.",
    )
    rho_growth: float = Field(default=1.3, ge=1, le=10, description="Factor on rho after each round, up to 1000.")
    balance: bool = Field(
        default=False,
        description="After each round, double rho where the primal residual (how far W is from Z) is ten times the "
        "dual one (how far Z has moved, times rho), halve it in the opposite case; on top of the growth.",
    )
    learning_rate: float = Field(default=5e-4, gt=0, le=1, description="Learning rate in round 1.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="How the learning rate falls over the rounds, to 0 after the last."
    )
    regrow: bool = Field(
        default=True,
        description="Whether weights that a round before pruned may come back. false: masked ADMM, what is zero at "
        "the start of a stage stays zero.",
    )


class Retrain(Asked):
    """Masked retraining: pruned weights stay zero."""

    epochs: int = Field(default=5, ge=0, le=10_000, description="Passes over the training data after the hard prune.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Learning rate at the start; it falls to 0.")
    average: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="Decay of a running mean of the weights over the steps, which is what is judged and delivered: "
        "0.998 looks back some 500 steps; 0: none.",
    )


class Progressive(Asked):
    """Partial models at rising rates, each stage from the best of those before."""

    rates: tuple[Rate, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Rates of the partial models, rising, without the goal itself, which comes last; null: from a "
        "fifth of the way, in equal ratios.",
    )
    pool: int = Field(
        default=1,
        ge=1,
        le=10,
        description="Partial models that are kept; the first so many are each made from the dense net, and each "
        "next one from the best of them, which it replaces. The paper keeps 3; 1 is a chain.",
    )

    @model_validator(mode="after")
    def _rising(self) -> Progressive:
        if self.rates is not None and any(b <= a for a, b in zip(self.rates, self.rates[1:], strict=False)):
            raise ValueError("rates must rise")
        return self


class Search(Asked):
    """How far max_accuracy_drop looks, and how closely."""

    first_rate: Rate = Field(default=4, description="First rate that is tried.")
    factor: float = Field(
        default=2, gt=1, le=100, description="Ratio of each rate to the last, until the drop is too large."
    )
    refinements: int = Field(
        default=3,
        ge=0,
        le=20,
        description="Trials between the highest rate that keeps the goal and the lowest that does not.",
    )
    highest_rate: Rate = Field(default=2000, description="Where the search ends in any case.")


class Gradual(Asked):
    """Masks are re-made again and again while the rate rises: of units first, if asked for, then of weights."""

    epochs: int = Field(default=10, ge=1, le=10_000, description="Passes over the training data while the rate rises.")
    first_rate: Rate = Field(default=4, description="Rate at the start, reached at once.")
    masks_per_epoch: int = Field(default=8, ge=1, le=10_000, description="How often masks are re-made in a pass.")
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="Learning rate meanwhile.")
    units: float = Field(
        default=1,
        gt=0,
        le=1,
        description="Share of the filters and neurons that stays; the others go before single weights do.",
    )
    unit_epochs: int = Field(default=5, ge=1, le=10_000, description="Passes in which they go, where some do.")


class Joint(Asked):
    """Neurons and filters are gated while connections are pruned; those whose gate closes are removed."""

    units: float = Field(default=0.5, gt=0, le=1, description="Share of the filters and neurons that stays.")
    gates: Literal["unit", "kernel"] = Field(
        default="unit",
        description="unit: a gate for each filter and each neuron; kernel: in convolutions one for each kernel.",
    )
    rho: float = Field(
        default=3e-2, gt=0, le=HIGHEST_RHO, description="Penalty on the gates at the start; it grows as the other."
    )
    learning_rate: float = Field(default=5e-3, gt=0, le=1, description="Learning rate of the gates.")


Bits = Annotated[int, Field(ge=2, le=8)]


class BitsRule(Asked):
    """Bits of the layers whose name matches; the last rule that matches a layer counts."""

    match: str = Field(min_length=1, description="Name of a layer or its weight; * and ? are wildcards.")
    bits: Bits = Field(description="2 to 8; b bits are 2^(b-1) magnitudes and a sign, zero is not one of them.")


class Quantize(Asked):
    """After pruning: the weights that are left take few values, evenly spaced, q times 1 to 2^(b-1) with a sign."""

    bits: Bits | None = Field(default=None, description="Of every layer that no rule names; null and no average: 4.")
    average_bits: float | None = Field(
        default=None,
        ge=2,
        le=8,
        description="Instead of bits: what a kept weight may take on the mean over all layers.",
    )
    layers: tuple[BitsRule, ...] = Field(default=(), max_length=1000, description="Other bits for some layers.")
    admm: Admm = Field(
        default=Admm(rounds=8, epochs_per_round=0.5, rho=1e-2, rho_growth=1.5),
        description="The rounds that bring the weights to the levels.",
    )
    retrain: Retrain = Field(
        default=Retrain(epochs=2, learning_rate=5e-4),
        description="Epochs after it, in which biases and the steps q are trained, the levels stay.",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Quantize:
        if self.bits is not None and self.average_bits is not None:
            raise ValueError("give bits or average_bits, not both")
        if self.retrain.average:
            raise ValueError("quantize.retrain.average must be 0: a mean of levels is no level")
        return self


class Distill(Asked):
    """The dense model, or another, as a teacher beside the targets."""

    weight: float = Field(
        default=0.0, ge=0, le=1, description="Share of the loss that is the distance from what the dense model gives."
    )
    temperature: float = Field(
        default=4, gt=0, le=100, description="Of the softened class scores (Hinton et al. 2015)."
    )
    teacher: str | None = Field(
        default=None,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Id of an uploaded model with the same inputs and outputs that teaches instead of the dense one, "
        "such as a larger net; `python -m pruning` takes its file as --teacher.",
    )
    fades: bool = Field(
        default=False, description="Whether its share falls to 0 over the second half of the retraining epochs."
    )


class Train(Asked):
    """How every training step is done."""

    loss: Literal["auto", "cross_entropy", "binary_cross_entropy", "mse", "distill"] = Field(
        default="auto",
        description="What training lowers; auto: what fits the targets. distill: the distance from what the dense "
        "model gives, also where there are labels; the only one without labels, besides mse for a regression net.",
    )
    output: str | None = Field(default=None, description="Output that the targets are for; null: the first.")
    optimizer: Literal["adam", "sgd"] = Field(default="adam", description="sgd is with Nesterov momentum of 0.9.")
    weight_decay: float = Field(
        default=0.0, ge=0, lt=1, description="L2 penalty on the weights, besides ADMM's; with adam decoupled (AdamW)."
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Examples in a training step; null: 128, fewer where an epoch would have less than 50 steps.",
    )
    augment: Literal["none", "shift", "crop_flip"] = Field(
        default="none",
        description="Of training images: shift moves them by up to a 24th of their size, crop_flip by up to an "
        "eighth and mirrors half of them; what comes in at the edge repeats it.",
    )
    precision: Literal["auto", "float32", "mixed"] = Field(
        default="auto",
        description="mixed: products in bfloat16, weights in float32; auto: mixed on CUDA, float32 on the CPU, where "
        "few processors gain from it.",
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


class Deliver(Asked):
    """What is done to the graph at the end; outputs stay as they are, but for rounding and for int8 biases."""

    remove: bool = Field(
        default=True,
        description="Take filters, channels, neurons and attention heads out of the graph that are always zero, always "
        "the same, or read by nothing.",
    )
    rewrite: bool = Field(
        default=True,
        description="Write layers anew that read few of their inputs or see few pixels, and leave channels in "
        "multiples of 8 or 16, each only where ONNX Runtime is then faster, by its own timing on the machine that runs "
        "the job.",
    )
    pack: bool = Field(
        default=True,
        description="Also deliver packed.onnx: the same net with its weights encoded, decoded by ONNX Runtime itself "
        "when it loads the file.",
    )
    biases: Literal["float32", "int8"] = Field(
        default="float32",
        description="Of packed.onnx. int8: a quarter of the bytes; outputs change a little, and the report says by how "
        "much and measures its accuracy.",
    )
    seconds: float = Field(
        default=5,
        gt=0,
        le=600,
        description="About how long timing may take, to choose forms, and again to measure the files.",
    )

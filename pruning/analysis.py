"""What is known of an uploaded model or data set before any job. Importable without torch."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from pruning.errors import DatasetMismatch
from pruning.frozen import Frozen


class Layer(Frozen):
    """A layer with prunable weights."""

    name: str = Field(description="What a plan's `layers[].match` is held against.")
    weight: str = Field(description="Name of the weight tensor in the ONNX graph.")
    kind: str = Field(description="conv, conv_transpose, dense or recurrent.")
    shape: tuple[int, ...] = Field(description="(out, in, kh, kw) or (out, in); (in, out, kh, kw) for conv_transpose.")
    weights: int
    zeros_share: float = Field(description="Share of zeros before any pruning, 0 to 1.")
    patterns: tuple[str, ...] = Field(description="Sparsity patterns that it can take.")
    multiply_adds: int = Field(description="For one example.")


class Port(Frozen):
    """An input or output of the graph; None is a dimension known only at run time."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def is_single(self) -> bool:
        """Whether it takes one example, without a batch axis: a vector of known length."""
        return len(self.shape) == 1 and self.shape[0] is not None

    @property
    def example_shape(self) -> tuple[int | None, ...]:
        """Of one example."""
        return self.shape if self.is_single else self.shape[1:]


class Analysis(Frozen):
    """What can be pruned in a model."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    operators: dict[str, int]
    layers: tuple[Layer, ...]
    weights: int
    multiply_adds: int
    agrees_max_abs: float = Field(description="Largest difference from ONNX Runtime on random input.")
    warnings: tuple[str, ...] = ()


class Split(Frozen):
    """One part of a data set."""

    examples: int
    shape: tuple[int, ...] = Field(description="Of one example, without the batch.")
    dtype: str


class DatasetSummary(Frozen):
    """What a data set holds."""

    format: str
    splits: dict[str, Split]
    classes: int = Field(description="Largest label + 1.")


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be greater than 0")
    return value


class Preprocess(Frozen):
    """What is done to each example: (x * scale - mean) / std, mean and std for each channel or one for all."""

    scale: Annotated[float, AfterValidator(_positive)] = Field(
        default=1.0, description="1/255 turns bytes into 0 to 1."
    )
    mean: tuple[float, ...] = Field(default=(0.0,), min_length=1)
    std: tuple[Annotated[float, AfterValidator(_positive)], ...] = Field(default=(1.0,), min_length=1)


def check_fit(analysis: Analysis, dataset: DatasetSummary) -> None:
    """Raises: DatasetMismatch: the examples or the labels are not what the model takes and gives."""
    wanted = analysis.inputs[0].shape[1:]
    for name, split in dataset.splits.items():
        fits = len(wanted) == len(split.shape) and all(w in (None, s) for w, s in zip(wanted, split.shape, strict=True))
        if not fits:
            raise DatasetMismatch(
                f"x_{name} holds examples of shape {_shape(split.shape)}; the model's input "
                f"{analysis.inputs[0].name} takes {_shape(wanted)}"
            )
    output = analysis.outputs[0]
    if len(output.shape) != 2:
        raise DatasetMismatch(
            f"the model's output {output.name} has shape {_shape(output.shape)}; labels need one score for each class, "
            "(N, classes): re-export with a Flatten at the end"
        )
    classes = output.shape[1] or 0
    if dataset.classes > classes:
        raise DatasetMismatch(
            f"labels go up to {dataset.classes - 1}, but the model's output {output.name} "
            f"has {classes} classes (labels 0 to {classes - 1})"
        )


def _shape(dims: Sequence[int | None]) -> str:
    return "(" + ", ".join("?" if d is None else str(d) for d in dims) + ")"

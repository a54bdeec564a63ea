"""What is known of an uploaded model or data set before any job. Importable without torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pruning.fit import check_fit as check_fit
from pruning.frozen import Frozen

Targets = Literal["classes", "labels", "numbers", "positions", "none"]


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
    groups: int = Field(default=1, description="Of a grouped convolution; `in` of the shape is that of one group.")
    readers: dict[str, int] = Field(
        default={},
        description="Layers that read its filters, and how many of their inputs each filter feeds; empty where filters "
        "cannot be removed: they are added to others, or are the model's output.",
    )


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


class Array(Frozen):
    """What one input is given for one example."""

    shape: tuple[int, ...] = Field(description="Of one example, without the batch.")
    dtype: str


class Split(Array):
    """One part of a data set; shape and dtype are those of its first input."""

    examples: int
    inputs: dict[str, Array] = Field(default={}, description="Inputs by name, where the data set names them.")


class DatasetSummary(Frozen):
    """What a data set holds."""

    format: str
    splits: dict[str, Split]
    targets: Targets = Field(
        default="classes",
        description="classes: one label an example; labels: several, yes or no; numbers: regression; positions: a "
        "class for each position; none: no labels, the dense model teaches.",
    )
    target_shape: tuple[int, ...] = Field(default=(), description="Of one example's target.")
    classes: int | None = Field(default=None, description="Largest label + 1; null where there are no classes.")
    class_names: tuple[str, ...] = Field(default=(), description="In the order of the labels, where they are known.")


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be greater than 0")
    return value


Pixels = Annotated[int, Field(ge=1, le=4096)]


class Preprocess(Frozen):
    """What is done to each example: images are resized to `size` and laid out; then (x * scale - mean) / std.

    The second part is for inputs that take floats; whole numbers, such as token ids, are fed as they are.
    """

    scale: Annotated[float, AfterValidator(_positive)] = Field(
        default=1.0, description="1/255 turns bytes into 0 to 1."
    )
    mean: tuple[float, ...] = Field(default=(0.0,), min_length=1, description="One value, or one for each channel.")
    std: tuple[Annotated[float, AfterValidator(_positive)], ...] = Field(
        default=(1.0,), min_length=1, description="One value, or one for each channel."
    )
    size: tuple[Pixels, Pixels] | None = Field(
        default=None, description="Height and width that images are brought to; null: as they are, all of one size."
    )
    fit: Literal["stretch", "crop"] = Field(
        default="stretch", description="stretch: to `size` as it is; crop: scaled to cover it, then cut at the centre."
    )
    color: Literal["rgb", "gray"] | None = Field(
        default=None, description="Channels that images are given; null: those of the first image."
    )
    layout: Literal["nchw", "nhwc"] = Field(
        default="nchw", description="Where the channels are; nets from TensorFlow take nhwc."
    )

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in a batch."""
        return 1 if self.layout == "nchw" else -1

    def in_words(self) -> str:
        """For sentences."""
        images = [f"size={_numbers(self.size)}, fit={self.fit}" if self.size else "", self.color or ""]
        numbers = f"scale={self.scale:.6g}, mean={_numbers(self.mean)}, std={_numbers(self.std)}, layout={self.layout}"
        return ", ".join([numbers, *filter(None, images)])


def _numbers(values: tuple[float, ...]) -> str:
    return ",".join(f"{v:.6g}" for v in values)

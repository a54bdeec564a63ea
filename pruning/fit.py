"""Whether a data set fits a model, and what training aims at then. Importable without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pruning.errors import DatasetMismatch, InvalidPlan

if TYPE_CHECKING:
    from pruning.analysis import Analysis, Array, DatasetSummary, Port, Split

Kind = Literal["classes", "binary", "labels", "numbers", "positions", "scores", "values"]
Loss = Literal["cross_entropy", "binary_cross_entropy", "mse", "distill"]
MetricName = Literal["top1", "f1", "mse", "agreement", "r2"]
UNNAMED = "x"  # the one input of a data set that does not name it

# Losses that a kind can be trained with, the first of them unless another is asked for, and its metric.
KINDS: dict[Kind, tuple[tuple[Loss, ...], MetricName]] = {
    "classes": (("cross_entropy", "distill"), "top1"),
    "binary": (("binary_cross_entropy", "distill"), "top1"),
    "labels": (("binary_cross_entropy", "distill"), "f1"),
    "numbers": (("mse", "distill"), "mse"),
    "positions": (("cross_entropy", "distill"), "top1"),
    "scores": (("distill",), "agreement"),
    "values": (("distill", "mse"), "r2"),
}
FLOATS = ("float", "double", "float16", "bfloat16")
AVERAGE = "or, for regression, save the targets as floats"


@dataclass(frozen=True)
class Goal:
    """What training aims at and is judged by.

    output: the model's output that the targets are for; classes: their number, where the targets are classes.
    kind: scores and values are of data sets without targets: the dense model's output is the target.
    class_axis: of the output, where it holds a score for each class.
    """

    output: str
    kind: Kind
    loss: Loss
    metric: MetricName
    classes: int | None = None
    class_axis: int = 1

    @property
    def has_targets(self) -> bool:
        """Whether the data set says what is right."""
        return self.kind not in ("scores", "values")


def check_fit(
    analysis: Analysis, dataset: DatasetSummary, loss: Loss | Literal["auto"] = "auto", output: str | None = None
) -> Goal:
    """What to aim at with this model, this data set and these wishes of the plan.

    Raises: DatasetMismatch: the examples or the targets are not what the model takes and gives;
    InvalidPlan: the loss does not fit the targets, or there is no such output.
    """
    for name, split in dataset.splits.items():
        _check_inputs(analysis.inputs, name, split)
    port = _output(analysis, output)
    kind, axis = SETTLE[dataset.targets](port, dataset)
    if kind == "scores" and loss == "mse":
        kind = "values"
    losses, metric = KINDS[kind]
    if loss != "auto" and loss not in losses:
        raise InvalidPlan(
            f"the loss {loss} does not fit targets of the kind {dataset.targets}; take auto or {' or '.join(losses)}",
            "/train/loss",
        )
    return Goal(port.name, kind, losses[0] if loss == "auto" else loss, metric, dataset.classes, axis)


def bound_names(inputs: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """The data set's name for each input of the model.

    Raises: DatasetMismatch: they are not the same, and not one unnamed array for one input.
    """
    if len(inputs) == 1 and list(names) == [UNNAMED]:
        return {inputs[0]: UNNAMED}
    if set(inputs) != set(names):
        raise DatasetMismatch(
            f"the model takes {', '.join(inputs)}, but the data set holds {', '.join(names)}: name the arrays "
            f"{', '.join(f'x_train.{name}' for name in inputs)} and so on"
        )
    return {name: name for name in inputs}


def _check_inputs(ports: Sequence[Port], name: str, split: Split) -> None:
    arrays: dict[str, Array] = dict(split.inputs) or {UNNAMED: split}
    names = bound_names([p.name for p in ports], list(arrays))
    for port in ports:
        array, wanted = arrays[names[port.name]], port.example_shape
        key, shape = f"x_{name}" if names[port.name] == UNNAMED else f"x_{name}.{port.name}", array.shape
        if not _matches(wanted, shape):
            raise DatasetMismatch(
                f"{key} holds examples of shape {_shape(shape)}; the model's input {port.name} takes {_shape(wanted)}"
                f"{_hint(wanted, shape)}"
            )
        if port.dtype not in FLOATS and array.dtype.startswith("float"):
            raise DatasetMismatch(
                f"{key} holds {array.dtype}; the model's input {port.name} takes {port.dtype}: save integers"
            )


def _hint(wanted: Sequence[int | None], shape: Sequence[int]) -> str:
    """What would make examples fit, where it is plain."""
    if len(shape) == 3 and _matches(wanted, (shape[2], shape[0], shape[1])):
        return ": put the channels first (x.transpose(0, 3, 1, 2)), or export the model for channels-last images"
    if len(shape) == 3 and _matches(wanted, (shape[1], shape[2], shape[0])):
        return ": put the channels last (x.transpose(0, 2, 3, 1))"
    if len(wanted) == len(shape) + 1 and _matches(wanted, (1, *shape)):
        return ": add the axis of channels (x[:, None])"
    return ""


def _output(analysis: Analysis, name: str | None) -> Port:
    ports = {p.name: p for p in analysis.outputs}
    if name is not None and name not in ports:
        raise InvalidPlan(f"the model has no output {name!r}; it has {', '.join(ports)}", "/train/output")
    scores = [p for p in analysis.outputs if p.dtype in FLOATS]
    if not scores or (name is not None and ports[name] not in scores):
        given = ports[name] if name is not None else analysis.outputs[0]
        raise InvalidPlan(f"output {given.name} holds {given.dtype}, which cannot be trained", "/train/output")
    return scores[0] if name is None else ports[name]


def _classes(port: Port, dataset: DatasetSummary) -> tuple[Kind, int]:
    given, classes = tuple(d for d in port.example_shape if d != 1) or (1,), dataset.classes or 1
    if given == (1,) and classes <= 2:
        return "binary", 1
    if len(given) != 1:
        raise DatasetMismatch(
            f"the model's output {port.name} has shape {_shape(port.shape)}; labels need one score for each class, "
            "(N, classes): name another output in train.output, or give targets of its shape"
        )
    if given[0] is not None and classes > given[0]:
        raise DatasetMismatch(
            f"labels go up to {classes - 1}, but the model's output {port.name} "
            f"has {given[0]} classes (labels 0 to {given[0] - 1}); take labels that it knows, {AVERAGE}"
        )
    return "classes", 1


def _labels(port: Port, dataset: DatasetSummary) -> tuple[Kind, int]:
    if len(port.example_shape) == len(dataset.target_shape) + 1:
        return _positions(port, dataset)
    if not _matches(port.example_shape, dataset.target_shape):
        raise _mismatch(port, dataset, "labels of 0 and 1, several to an example, need one score for each")
    return "labels", 1


def _numbers(port: Port, dataset: DatasetSummary) -> tuple[Kind, int]:
    given = [d for d in port.example_shape if d != 1]
    if len(given) == 1 and not [d for d in dataset.target_shape if d != 1]:
        raise _mismatch(port, dataset, "one number for each example; save labels of classes as integers")
    if not _matches(given, [d for d in dataset.target_shape if d != 1]):
        raise _mismatch(port, dataset, "numbers to come near to need an output of their shape")
    return "numbers", 1


def _positions(port: Port, dataset: DatasetSummary) -> tuple[Kind, int]:
    given, wanted = port.example_shape, dataset.target_shape
    for axis, places in ((1, given[1:]), (-1, given[:-1])):
        classes = given[:1] if axis == 1 else given[-1:]
        if classes and _matches(places, wanted):
            if (classes[0] or 2**31) >= (dataset.classes or 1):
                return "positions", axis
            raise DatasetMismatch(
                f"labels go up to {(dataset.classes or 1) - 1}, but the model's output {port.name} has {classes[0]} "
                "classes; a value that means nothing, such as 255, is not supported: give these positions a class"
            )
    raise _mismatch(port, dataset, f"a class for each position needs an output (N, classes, positions), {AVERAGE}")


def _none(port: Port, _: DatasetSummary) -> tuple[Kind, int]:
    return ("scores" if len([d for d in port.example_shape if d != 1]) == 1 else "values"), 1


# What the targets are to an output, and its axis of classes.
SETTLE = {"classes": _classes, "labels": _labels, "numbers": _numbers, "positions": _positions, "none": _none}


def _mismatch(port: Port, dataset: DatasetSummary, needs: str) -> DatasetMismatch:
    return DatasetMismatch(
        f"the targets have shape {_shape(dataset.target_shape)} for an example, the model's output {port.name} "
        f"{_shape(port.example_shape)}: {needs}"
    )


def _matches(wanted: Sequence[int | None], shape: Sequence[int]) -> bool:
    return len(wanted) == len(shape) and all(w in (None, s) for w, s in zip(wanted, shape, strict=True))


def _shape(dims: Sequence[int | None]) -> str:
    return "(" + ", ".join("?" if d is None else str(d) for d in dims) + ")"

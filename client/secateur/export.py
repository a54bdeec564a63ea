"""A PyTorch module as an ONNX file. Nothing here imports torch: who has a module has imported it."""

import importlib.util
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from secateur.sources import Source


class Module(Protocol):
    """A torch.nn.Module, for type checkers without torch."""

    training: bool

    def eval(self) -> Any:
        """Switch to evaluation."""
        ...

    def state_dict(self) -> Any:
        """Its weights."""
        ...


def is_module(given: object) -> bool:
    """Whether this is a torch.nn.Module."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.nn.Module)


def to_onnx(module: Any, example: Any) -> Source:
    """Export in evaluation mode, with a batch axis of any length; where that cannot be, with that of the example.

    Args: example: a tensor, or a tuple of them, with the batch at axis 0. Raises: ValueError: the module does not
    run on it, or cannot be exported.
    """
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    name = type(module).__name__
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder, _evaluating(module):
        _run(module, inputs)
        path = Path(folder) / "model.onnx"
        try:
            _export(module, inputs, path, is_dynamic=True)
        except Exception as error:  # noqa: BLE001  # torch raises many kinds; the next try is the answer
            warnings.warn(
                f"the batch of {name} is fixed at {len(inputs[0])}, a batch of any length cannot be "
                f"exported: {_first_line(error)}",
                stacklevel=2,
            )
            try:
                _export(module, inputs, path, is_dynamic=False)
            except Exception as last:  # noqa: BLE001  # torch's own words take pages
                raise ValueError(f"{name} cannot be exported to ONNX: {_first_line(last)}") from None
        return Source(f"{name}.onnx", path.read_bytes())


def _run(module: Any, inputs: tuple[Any, ...]) -> None:
    """Raises: ValueError: it does not run; said before the exporter says so at length."""
    torch: Any = sys.modules["torch"]
    try:
        with torch.no_grad():
            module(*inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(getattr(x, "shape", ()))) for x in inputs)
        raise ValueError(
            f"{type(module).__name__} does not run on an example of shape {shapes}: {_first_line(error)}"
        ) from error


def _export(module: Any, inputs: tuple[Any, ...], path: Path, *, is_dynamic: bool) -> None:
    torch: Any = sys.modules["torch"]
    options: dict[str, Any] = {"input_names": [f"input{i}" for i in range(len(inputs))], "external_data": False}
    if importlib.util.find_spec("onnxscript") is not None:
        batch = torch.export.Dim("batch") if is_dynamic else None
        shapes = tuple({0: batch} for _ in inputs) if is_dynamic else None
        doubled = tuple(torch.cat([x, x]) if is_dynamic and len(x) == 1 else x for x in inputs)  # 1 would be fixed
        options |= {"dynamo": True, "dynamic_shapes": shapes, "verbose": False}
        made = _quietly(torch, module, doubled, path, options)
        if is_dynamic and any(isinstance(port.shape[0], int) for port in made.model.graph.inputs):
            raise ValueError("it holds for one batch size only")  # dynamo fixes it in silence
        return
    axes = {name: {0: "batch"} for name in options["input_names"]} | {"output": {0: "batch"}}
    options |= {"dynamo": False, "output_names": ["output"], "dynamic_axes": axes if is_dynamic else None}
    _quietly(torch, module, inputs, path, options)


def _quietly(torch: Any, module: Any, inputs: tuple[Any, ...], path: Path, options: dict[str, Any]) -> Any:
    with warnings.catch_warnings(), _silent(logging.getLogger("torch.onnx")):  # it misses torchvision: nobody needs it
        warnings.simplefilter("ignore")  # torch's own deprecations, which its user cannot mend
        return torch.onnx.export(module, inputs, str(path), **options)


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Every part's own mode is given back: some may have been frozen in a training net."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

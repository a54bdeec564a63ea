"""python -m pruning MODEL DATA --rate 20 --out DIR: a pruning job without any service."""

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pruning import launch
from pruning.analysis import Preprocess
from pruning.data import READERS
from pruning.errors import OutOfMemory, PruningError, is_out_of_memory
from pruning.faults import sentence
from pruning.listener import Metric, Phase, Silent
from pruning.methods import METHODS
from pruning.order import Order
from pruning.plan import Plan
from pruning.recipe import Recipe
from pruning.sparsity import PATTERNS

BUDGETS = {  # by option
    "rate": "pruning_rate",
    "sparsity": "sparsity",
    "max_drop": "max_accuracy_drop",
    "multiply_adds": "multiply_adds_share",
    "bytes": "bytes",
}


PLAN = (
    "JSON file with a plan; or a manifest.json or report.json, to do that job again, with its plan and its reading of "
    "the data; other options replace what it says"
)


PROCESSES = (
    "processes that share each batch, on this machine: one for each GPU, or some of the cores (default: 1); torchrun "
    "--nproc-per-node N -m pruning ... does the same"
)


class Terminal(Silent):
    """Prints phases and rounds to standard error."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def phase(self, name: Phase, progress: float) -> None:
        """A line for each phase."""
        self._print(f"{name} ...")

    def metric(self, metric: Metric) -> None:
        """A line for each round."""
        values = "  ".join(f"{k} {v:.4g}" for k, v in metric.values.items())
        self._print(f"{metric.phase} {metric.round:>3}  {values}")

    def warning(self, text: str) -> None:
        """A line that stands out."""
        self._print(f"warning: {text}")

    def _print(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:7.1f} s  {text}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 the job failed, 2 wrong usage."""
    if launch.is_follower():
        return launch.follow()
    options = _parser().parse_args(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        if not options.data.is_file():
            raise FileNotFoundError(f"there is no file {options.data}")
        with tempfile.TemporaryDirectory(prefix="secateur-") as cache:
            delivery = launch.prune(_order(options, Path(cache)), Terminal(), processes=options.processes)
    except (PruningError, OSError, MemoryError, RuntimeError) as error:
        if not isinstance(error, PruningError | OSError) and not is_out_of_memory(error):
            raise
        print(f"error: {OutOfMemory() if is_out_of_memory(error) else error}", file=sys.stderr)
        return 1
    except ValidationError as error:
        for problem in error.errors():
            print(f"error: {'.'.join(map(str, problem['loc'])) or 'plan'}: {sentence(problem)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    for name, content in delivery.files.items():
        (options.out / name).write_bytes(content)
    print(delivery.report.headline)
    print(f"written to {options.out}: {', '.join(delivery.files)}")
    return 0


def _order(options: argparse.Namespace, cache: Path) -> Order:
    """Of the options and, beneath them, the plan, manifest or report that --plan names."""
    recipe = Recipe.read(options.plan) if options.plan else Recipe()
    order = Order(
        options.model.read_bytes(),
        options.data,
        _plan(options, recipe.plan),
        options.format or recipe.data_format or "npz",
        _preprocess(options, recipe.preprocess),
        cache=cache,
        memory=options.memory * 2**30,
        teacher=options.teacher.read_bytes() if options.teacher else None,
        model_name=options.model.name,
        dataset_name=options.data.name,
    )
    _warn_of_others(order, recipe)
    return order


def _warn_of_others(order: Order, recipe: Recipe) -> None:
    """Where a manifest speaks of another model or data set."""
    if not recipe.sha256:
        return
    with order.data.open("rb") as file:
        found = {"dataset": hashlib.file_digest(file, "sha256"), "model": hashlib.sha256(order.model)}
    for kind, name in (("model", order.model_name), ("dataset", order.dataset_name)):
        if found[kind].hexdigest() != recipe.sha256[kind]:
            print(f"warning: {name} is not the {kind} that the manifest is of: the result will differ", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pruning", description="Prune an ONNX model and retrain it.")
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("data", type=Path, help="npz file with x_train, y_train, x_test, y_test; or see --format")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results (default: out)")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--rate", type=float, help="pruning rate: 20 keeps a twentieth of the weights")
    goal.add_argument("--sparsity", type=float, help="share of zeros: 0.95 keeps a twentieth")
    goal.add_argument("--max-drop", type=float, help="search for the highest rate that loses at most so much: 0.005")
    goal.add_argument("--multiply-adds", type=float, help="share of the multiply-adds that stays: 0.5")
    goal.add_argument("--bytes", type=int, help="bytes of packed.onnx at most")
    parser.add_argument("--method", choices=METHODS, help="default: direct; progressive with --max-drop")
    parser.add_argument("--pattern", choices=PATTERNS, help="default: unstructured")
    parser.add_argument("--bits", type=int, help="quantize the weights that are left to 2 to 8 bits")
    parser.add_argument("--teacher", type=Path, help="ONNX file that teaches instead of the model itself (distill)")
    parser.add_argument("--plan", type=Path, help=PLAN)
    parser.add_argument(
        "--format", choices=READERS, help="npz (default), or an archive of images, Parquet or IDX files"
    )
    parser.add_argument("--memory", type=float, default=4, help="GiB that prepared examples may take (default: 4)")
    parser.add_argument("--processes", type=_count, default=1, help=PROCESSES)
    parser.add_argument("--scale", type=float, help="examples become (x * scale - mean) / std")
    parser.add_argument("--mean", type=_numbers, help="one value, or one for each channel: 0.5,0.4,0.3")
    parser.add_argument("--std", type=_numbers, help="as --mean")
    parser.add_argument("--size", type=_size, help="images are brought to height,width: 224,224, or 224 for both")
    parser.add_argument("--fit", choices=("stretch", "crop"), help=_help("fit"))
    parser.add_argument("--color", choices=("rgb", "gray"), help=_help("color"))
    parser.add_argument("--layout", choices=("nchw", "nhwc"), help=_help("layout"))
    return parser


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _size(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    return numbers * 2 if len(numbers) == 1 else numbers


def _help(name: str) -> str | None:
    return Preprocess.model_fields[name].description


def _plan(options: argparse.Namespace, given: dict[str, Any]) -> Plan:
    plan = dict(given)
    for option, budget in BUDGETS.items():
        if getattr(options, option) is not None:
            plan["budget"] = {budget: getattr(options, option)}
    if options.method is not None:
        plan["method"] = options.method
    if options.pattern is not None:
        plan["pattern"] = {"kind": options.pattern}
    if options.bits is not None:
        plan["quantize"] = {**(plan.get("quantize") or {}), "bits": options.bits}
    if options.teacher is not None:
        plan["distill"] = {"weight": 0.5, **plan.get("distill", {}), "teacher": options.teacher.name[:100]}
    return Plan.model_validate(plan)


def _preprocess(options: argparse.Namespace, given: dict[str, Any]) -> Preprocess:
    said = {name: value for name in Preprocess.model_fields if (value := getattr(options, name)) is not None}
    return Preprocess.model_validate({**given, **said})


if __name__ == "__main__":
    sys.exit(main())

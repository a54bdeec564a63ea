"""From a trained network to files: written back, reopened, checked and measured."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto
from safetensors.torch import save

from pruning.account import Measured, Trained, report_of
from pruning.doubt import LOOKED_AT, doubt
from pruning.errors import WrongDelivery
from pruning.listener import Listener
from pruning.measure import LARGER, Feeds, measure, run, session
from pruning.metrics import METRICS
from pruning.onnx import batchnorm
from pruning.onnx.agree import compare
from pruning.onnx.convert import stored_tensors
from pruning.onnx.dtypes import HALVES
from pruning.onnx.shrink import shrink
from pruning.onnx.useful import useful_weights
from pruning.onnx.writeback import write_back
from pruning.plan import Plan
from pruning.report import Accuracy, Checks, Report
from pruning.report_page import render
from pruning.tally import Tally, tally, weights_of

LIMIT, HALF_LIMIT = 1e-4, 2e-2  # relative; half precision rounds the weights
EXAMPLES_COMPARED = 64
LARGE_DROP = 0.05
LARGE_GROWTH = 0.5  # of the mean squared error
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Delivery:
    """Files by name, and the report that is one of them."""

    files: Mapping[str, bytes]
    report: Report


def deliver(trained: Trained, listener: Listener) -> Delivery:
    """Write back, reopen, verify, measure, report.

    Raises: WrongDelivery: the file does not compute what the trained network does; RejectedModel, OutOfMemory:
    ONNX Runtime does not run it.
    """
    listener.phase("verify", 0.9)
    trained.network.module.cpu()
    batchnorm.fold(trained.network)
    masked, pruned = _written(trained)
    found = tally(pruned, trained.network, trained.order.plan.quantize is not None)
    checks = _verify(pruned, trained, found.zeros)
    listener.phase("measure", 0.92)
    accuracy, doubts = _accuracy(pruned, trained)
    examples = trained.dataset.test.prepared(slice(0, min(LARGER, len(trained.dataset.test))))
    measured_files = measure({"dense": trained.order.model, "pruned": pruned}, examples)
    listener.phase("report", 0.99)
    notes = (*doubts, *trained.ended.notes, *_about_zeros(found))
    measured = Measured(checks, found.layers, found.removed, accuracy, measured_files, notes)
    report = report_of(trained, measured)
    files = {
        "pruned.onnx": pruned,
        "masks.safetensors": save({k: (v != 0).contiguous() for k, v in weights_of(masked, trained.network).items()}),
        "report.json": report.model_dump_json(indent=2).encode(),
        "report.html": render(report).encode(),
        "manifest.json": report.manifest.model_dump_json(indent=2).encode(),
    }
    return Delivery(files, report)


def may_remove(plan: Plan) -> bool:
    """Whether channels may leave the graph: not where m consecutive inputs belong together."""
    rules = [rule.pattern for rule in plan.layers if rule.pattern is not None]
    return plan.deliver.remove and all(pattern.kind != "n_m" for pattern in (plan.pattern, *rules))


def _written(trained: Trained) -> tuple[bytes, bytes]:
    """The user's graph with the trained weights that matter, and what is delivered: it, or it without dead channels."""
    network = trained.network
    useful, W = useful_weights(trained.model, network), {k: w.detach().clone() for k, w in network.W().items()}
    network.set_W({k: w * useful[k] + 0.0 for k, w in W.items()})  # no zero is negative: they compress worse
    masked = write_back(trained.model, network)
    network.set_W(W)  # what is delivered is held against the network as it was trained
    pruned = shrink(masked) if may_remove(trained.order.plan) else masked
    return masked.SerializeToString(), pruned.SerializeToString()


def _about_zeros(found: Tally) -> list[str]:
    """Where they have gone too far."""
    empty = [layer.name for layer in found.layers if not layer.kept]
    if not empty:
        return []
    return [f"no weight of {', '.join(empty[:5])} matters any more: the net was cut in two, ask for a lower rate"]


def _verify(pruned: bytes, trained: Trained, zeros: int) -> Checks:
    """Held against the trained network on random input and on real examples that are not the test split's."""
    onnx.checker.check_model(ModelProto.FromString(pruned))
    x = trained.dataset.train.prepared(slice(0, min(EXAMPLES_COMPARED, len(trained.dataset.train))))
    found = [compare(pruned, trained.network, batch) for batch in (x, _noise(x))]
    limit = HALF_LIMIT if _is_half(trained) else LIMIT
    if not all(agreement is not None and agreement.relative <= limit for agreement in found):
        raise WrongDelivery
    worst = max(agreement.max_abs for agreement in found if agreement is not None)
    return Checks(opens=True, checker=True, agrees_max_abs=worst, zeros_counted=zeros)


def _noise(x: Feeds) -> dict[str, np.ndarray]:
    """Random numbers as large as these; whole numbers, such as token ids, in another order."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.random(v.shape, dtype=np.float32) * max(float(np.abs(v).max()), 1e-6)).astype(v.dtype)
        if v.dtype.kind == "f"
        else rng.permuted(v.reshape(-1)).reshape(v.shape)
        for name, v in x.items()
    }


def _is_half(trained: Trained) -> bool:
    tensors = stored_tensors(trained.model)
    return any(tensors[s.tensor].data_type in HALVES for s in trained.network.sources.values())


def _accuracy(pruned: bytes, trained: Trained) -> tuple[Accuracy, list[str]]:
    """On the test split, of both files; and what somebody should look into before using the pruned one."""
    dense_counts, pruned_counts = _counts(pruned, trained)
    objective, test = trained.objective, trained.dataset.test
    goal, metric = objective.goal, METRICS[objective.goal.metric]
    dense, after = metric.value(dense_counts), metric.value(pruned_counts)
    accuracy = Accuracy(
        metric=goal.metric,
        dense=dense,
        pruned=after,
        drop=objective.score(dense) - objective.score(after),
        examples=len(test),
    )
    x = test.prepared(slice(0, min(LOOKED_AT, len(test))))
    text = doubt(goal, dense_counts, trained.order.preprocess, x)
    notes = [*([text] if text else []), *_notes(accuracy, goal.has_targets)]
    return accuracy, [*notes, *_other_outputs(pruned, trained)]


def _other_outputs(pruned: bytes, trained: Trained) -> list[str]:
    """What became of the outputs that the accuracy says nothing of."""
    goal, r2 = trained.objective.goal, METRICS["r2"]
    sessions, counts = (session(trained.order.model), session(pruned)), dict[str, np.ndarray]()
    names = [name for name in trained.network.outputs if name != goal.output]
    for x, _ in trained.dataset.test.batches(EVALUATION_BATCH) if names else ():
        dense, after = (run(s, x) for s in sessions)
        for name in (n for n in names if dense[n].dtype.kind == "f"):
            counts[name] = counts.get(name, 0.0) + r2.count(after[name], dense[name], goal, "logits")
    return [
        f"output {name!r} was kept near the dense model's: R2 {r2.value(c):.4f} on the test split (1 is all of it)"
        for name, c in counts.items()
    ]


def _counts(pruned: bytes, trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """What the metric is made from, for the dense and the pruned file; without targets the dense file is right."""
    goal = trained.objective.goal
    ending = trained.network.gives[goal.output]
    count = METRICS[goal.metric].count
    sessions = session(trained.order.model), session(pruned)
    totals: list[np.ndarray] = []
    for x, y in trained.dataset.test.batches(EVALUATION_BATCH):
        outputs = [run(s, x)[goal.output] for s in sessions]
        right = outputs[0] if y is None else y
        totals.append(np.stack([count(output, right, goal, ending) for output in outputs]))
    dense, after = np.sum(totals, axis=0)
    return dense, after


def _notes(accuracy: Accuracy, has_targets: bool) -> list[str]:
    found = []
    if not has_targets:
        found.append("the data set has no labels: the dense file counts as right, and reaches 1 by definition")
    is_error = accuracy.metric == "mse"
    if accuracy.drop > (LARGE_GROWTH * accuracy.dense if is_error else LARGE_DROP):
        lost = f"{accuracy.drop / max(accuracy.dense, 1e-12):.0%} more error" if is_error else ""
        found.append(
            f"the pruned file {f'makes {lost}' if lost else f'lost {100 * accuracy.drop:.1f} points'}: "
            "ask for a lower rate, or more rounds and epochs"
        )
    return found

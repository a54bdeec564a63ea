"""From a trained network to files: written back, made smaller, reopened, checked and measured."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto
from safetensors.torch import save

from pruning.account import Measured, Trained, report_of
from pruning.accuracy import judge, metric_of
from pruning.aims import size_of
from pruning.errors import WrongDelivery, first_line
from pruning.listener import Listener
from pruning.measure import LARGER, measure
from pruning.onnx import batchnorm
from pruning.onnx.fastest import Fastest
from pruning.onnx.pack import Packed, pack
from pruning.onnx.useful import useful_weights
from pruning.onnx.writeback import write_back
from pruning.proof import change, exactness, examples_of, verify
from pruning.report import LayerForm, PackedReport, Report
from pruning.report_page import render
from pruning.smaller import smaller
from pruning.tally import Tally, tally, weights_of

log = logging.getLogger(__name__)
ROUNDED = (
    "some filters that are always zero stay, as ONNX Runtime is faster with channels in multiples of 8 or 16; "
    "deliver.rewrite: false takes them out too, for a smaller file"
)
NOT_FASTEST = "layers have their smallest form and not their fastest, which would be larger than was asked for"
NOT_REMOVED = "what is dead stays in the graph, as taking it out failed; please report this model"
NO_GAIN = "packed.onnx would be no smaller than pruned.onnx, so there is none"
NOT_PACKED = "there is no packed.onnx, as the model cannot be packed"


@dataclass(frozen=True)
class Delivery:
    """Files by name, and the report that is one of them."""

    files: Mapping[str, bytes]
    report: Report


@dataclass(frozen=True)
class _Packed:
    """The packed file, and what is said of it."""

    content: bytes
    report: PackedReport


def deliver(trained: Trained, listener: Listener) -> Delivery:
    """Write back, remove, pack, reopen, verify, measure, report.

    Raises: WrongDelivery: a file does not compute what the trained network does; RejectedModel, OutOfMemory:
    ONNX Runtime does not run it.
    """
    plan = trained.order.plan
    listener.phase("remove", 0.9)
    trained.network.module.cpu()
    batchnorm.fold(trained.network)
    masked = _masked(trained)
    smallest, not_removed = _smallest(masked, trained)
    files = {"dense": trained.order.model, "pruned": smallest.model.SerializeToString()}
    listener.phase("pack", 0.91)
    packed, why = _packed(smallest.model, files["pruned"], trained) if plan.deliver.pack else (None, ())
    files |= {"packed": packed.content} if packed else {}
    listener.phase("verify", 0.92)
    found = tally(files["pruned"], trained.network, plan.quantize is not None)
    checks = verify(files["pruned"], masked.SerializeToString(), trained, found.zeros)
    listener.phase("measure", 0.93)
    judged = judge(files["pruned"], trained)
    test = trained.dataset.test
    report = report_of(
        trained,
        Measured(
            checks,
            found.layers,
            found.removed,
            judged,
            measure(files, test.prepared(slice(0, min(LARGER, len(test)))), plan.deliver.seconds),
            (*judged.notes, *trained.ended.notes, *_notes(found), *not_removed, *why),
            packed.report if packed else None,
            _forms(smallest, trained),
        ),
    )
    listener.phase("report", 0.99)
    return Delivery(_files(files, masked, trained, report), report)


def _masked(trained: Trained) -> ModelProto:
    """The user's graph with the trained weights that matter."""
    network = trained.network
    useful, W = useful_weights(trained.model, network), {k: w.detach().clone() for k, w in network.W().items()}
    network.set_W({k: w * useful[k] + 0.0 for k, w in W.items()})  # no zero is negative: they compress worse
    for bias in network.b().values():
        bias.data += 0.0
    masked = write_back(trained.model, network)
    network.set_W(W)  # what is delivered is held against the network as it was trained
    return masked


def _smallest(masked: ModelProto, trained: Trained) -> tuple[Fastest, tuple[str, ...]]:
    """What is delivered of it, and what is to be said of that; all of it where removal fails."""
    plan = trained.order.plan
    if not plan.may_remove():
        return Fastest.unchanged(masked), ()
    x = trained.dataset.train.prepared(slice(0, 1))
    try:
        found = smaller(masked, x, plan.quantize is not None, plan.deliver.rewrite, plan.deliver.seconds)
    except (
        Exception
    ) as error:  # whatever a graph that nobody thought of does to a rule: a job of hours is not lost to it
        log.warning("nothing could be removed from a model", exc_info=True)
        return Fastest.unchanged(masked), (f"{NOT_REMOVED}: {first_line(error)}",)
    most = plan.budget.bytes
    if most is not None and plan.deliver.rewrite and size_of(plan, found.model) > most:
        return smaller(masked, x, plan.quantize is not None, rewrite=False), (NOT_FASTEST,)
    return found, (ROUNDED,) if found.variant else ()


def _forms(smallest: Fastest, trained: Trained) -> tuple[LayerForm, ...]:
    """Layers by the names that they have elsewhere in the report."""
    names = {layer.weight: name for name, layer in trained.network.layers.items()}
    return tuple(
        LayerForm(layer=names.get(c.layer, c.layer), form=c.form, dense_ms=c.dense_ms, chosen_ms=c.chosen_ms)
        for c in smallest.choices
    )


def _packed(model: ModelProto, pruned: bytes, trained: Trained) -> tuple[_Packed | None, tuple[str, ...]]:
    """None, and why, where it gains nothing or cannot be made: the training is in the other files."""
    try:
        packed = pack(model, trained.order.plan.deliver.biases)
        if len(packed.content) >= len(pruned):
            return None, (NO_GAIN,)
        return _Packed(packed.content, _about(packed, pruned, trained)), ()
    except WrongDelivery:
        why = "ONNX Runtime does not compute the same with it"
    except Exception as error:  # codecs, converters and runtimes have their own, and a job of hours is not lost to them
        log.warning("a model cannot be packed", exc_info=True)
        why = first_line(error)
    return None, (f"{NOT_PACKED}: {why}",)


def _about(packed: Packed, pruned: bytes, trained: Trained) -> PackedReport:
    """Its accuracy is counted again where its weights are others. Raises: WrongDelivery."""
    within = exactness(trained) if packed.exact else None
    return PackedReport(
        bytes=len(packed.content),
        exact=packed.exact,
        largest_change=packed.largest_change,
        agrees_max_abs=change(pruned, packed.content, examples_of(trained), within),
        accuracy=None if packed.exact else metric_of(packed.content, trained),
    )


def _files(made: Mapping[str, bytes], masked: ModelProto, trained: Trained, report: Report) -> dict[str, bytes]:
    W = weights_of(masked.SerializeToString(), trained.network)
    onnx = {f"{name}.onnx": content for name, content in made.items() if name != "dense"}
    return {
        **onnx,
        "masks.safetensors": save({k: (v != 0).contiguous() for k, v in W.items()}),
        "report.json": report.model_dump_json(indent=2).encode(),
        "report.html": render(report).encode(),
        "manifest.json": report.manifest.model_dump_json(indent=2).encode(),
    }


def _notes(found: Tally) -> list[str]:
    """Where the zeros have gone too far."""
    empty = [layer.name for layer in found.layers if not layer.kept]
    if not empty:
        return []
    return [f"no weight of {', '.join(empty[:5])} matters any more: the net was cut in two, ask for a lower rate"]

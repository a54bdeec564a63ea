"""Budgets that only the model and the data can turn into rates: a file's size, and a loss of accuracy."""

import math
from collections.abc import Mapping

import torch
from onnx import ModelProto
from torch import Tensor

from pruning.batches import Batches
from pruning.budgets import highest_rate, settle
from pruning.errors import InvalidPlan
from pruning.measure import gzip_bytes
from pruning.objective import Objective
from pruning.onnx.network import Network
from pruning.onnx.pack import pack
from pruning.onnx.shrink import shrink
from pruning.onnx.writeback import write_back
from pruning.plan import Budget, Plan
from pruning.quantize import bits_of, project, squared_error
from pruning.sets import Sets

MARGIN = 0.95  # of the bytes asked for: training changes the values, and with them how they compress
CLOSE = 1.005  # two rates of a smaller ratio are one


def with_rate(plan: Plan, model: ModelProto, network: Network) -> Plan:
    """A plan for a size in bytes as a plan for the lowest rate that meets it; other plans as they are.

    Raises: InvalidPlan: no rate does.
    """
    if plan.budget.bytes is None:
        return plan
    low, high = 1.0, highest_rate(plan, tuple(network.layers.values()))
    if (least := _bytes_at(plan, model, network, high)) > plan.budget.bytes * MARGIN:
        raise InvalidPlan(
            f"at the highest rate that the plan allows, {high:,.0f}x, the file still has {least:,} bytes; ask for more",
            "/budget/bytes",
        )
    while high / low > CLOSE:
        middle = math.sqrt(low * high)
        fits = _bytes_at(plan, model, network, middle) <= plan.budget.bytes * MARGIN
        low, high = (low, middle) if fits else (middle, high)
    return plan.model_copy(update={"budget": Budget(pruning_rate=high)})


def size_of(plan: Plan, delivered: ModelProto) -> int:
    """Bytes of what a budget of bytes is held against."""
    if plan.deliver.pack:
        return len(pack(delivered, plan.deliver.biases).content)
    return gzip_bytes(delivered.SerializeToString())


def over(plan: Plan, model: ModelProto, network: Network) -> float:
    """The size that the file would have with the network's weights as they are / the size asked for, less a margin;
    0 where the budget names no size.
    """
    if plan.budget.bytes is None:
        return 0.0
    return _bytes_with(network.W(), plan, model, network) / (plan.budget.bytes * MARGIN)


def floor_of(plan: Plan, objective: Objective, network: Network, val: Batches, test: Batches) -> float | None:
    """The least score that a search may end at; None where there is no search.

    The dense network counts as what it gives on the test split, where that is worse than on the validation split:
    it may have been trained on what the validation split was cut from. No pruned network is judged by the test split
    before the end.
    """
    drop = plan.budget.max_accuracy_drop
    if drop is None:
        return None
    dense = min(objective.score(objective.measure(network, split)) for split in (val, test))
    return dense - drop if dense >= 0 else dense * (1 + drop)


def _sets(plan: Plan, network: Network, rate: float) -> Sets:
    wanted = plan.model_copy(update={"budget": Budget(pruning_rate=rate)})
    return Sets.of(settle(wanted, tuple(network.layers.values())))


def _bytes_at(plan: Plan, model: ModelProto, network: Network, rate: float) -> int:
    W = {k: w.detach() for k, w in network.W().items()}
    return _bytes_with(_sets(plan, network, rate).project(W), plan, model, network)


@torch.no_grad()
def _bytes_with(Z: Mapping[str, Tensor], plan: Plan, model: ModelProto, network: Network) -> int:
    """Of the file with these weights, on levels where that is planned; the network is as before."""
    W = {k: w.detach().clone() for k, w in network.W().items()}
    if plan.quantize is not None:
        kept, layers = {k: int(z.count_nonzero()) for k, z in Z.items()}, tuple(network.layers.values())
        bits = bits_of(plan.quantize, layers, kept, lambda k, b: squared_error(Z[k], Z[k] != 0, b))
        Z = {k: project(z, z != 0, bits[k]).Z for k, z in Z.items()}
    network.set_W(Z)
    written = write_back(model, network)
    network.set_W(W)
    return size_of(plan, shrink(written) if plan.may_remove() else written)

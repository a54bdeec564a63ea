"""Small nets as their layers alone, and what is held against them."""

import math

import torch
from torch import Tensor

from pruning.analysis import Layer
from pruning.budgets import Allowance, settle
from pruning.plan import Plan
from pruning.sparsity import suiting
from pruning.sparsity.form import Form

ALLOCATIONS = ["global", "uniform", "lamp", "erk"]


def layer(name: str, *shape: int, kind: str = "", positions: int = 1, groups: int = 1, **readers: int) -> Layer:
    kind = kind or ("conv" if len(shape) > 2 else "dense")
    return Layer(
        name=name,
        weight=f"{name}.weight",
        kind=kind,
        shape=shape,
        weights=math.prod(shape),
        zeros_share=0,
        patterns=suiting(Form(kind, shape, groups)),
        multiply_adds=math.prod(shape) * positions,
        groups=groups,
        readers=readers,
    )


LAYERS = [layer("conv1", 20, 1), layer("conv2", 80, 1), layer("fc", 900, 1)]
CHAIN = [
    layer("conv1", 4, 3, 3, 3, positions=64, conv2=1),
    layer("conv2", 6, 4, 3, 3, positions=16, fc=4),
    layer("fc", 5, 24),
]
BRANCHES = [layer("a", 3, 2, 3, 3, c=1), layer("b", 4, 2, 1, 1, c=1), layer("c", 2, 7, 3, 3)]
DEPTHWISE = [
    layer("conv", 6, 3, 3, 3, dw=1, pw=1),
    layer("dw", 6, 1, 3, 3, groups=6, pw=1),
    layer("pw", 5, 6, 1, 1, fc=1),
    layer("fc", 2, 5),
]
MIXED = [{"match": "conv1", "pattern": {"kind": "kernel"}}, {"match": "fc", "pattern": {"kind": "unstructured"}}]


def weights(layers: list[Layer], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {x.name: torch.randn(x.shape, generator=generator) / (1 + i) for i, x in enumerate(layers)}


def plan(budget=None, **more) -> Plan:
    return Plan.model_validate({"budget": budget or {"pruning_rate": 10}, **more})


def scores(allowance: Allowance, W: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: p.scores(allowance.forms[k].matrices(W[k])) for k, p in allowance.patterns.items()}


def allocated(plan: Plan, layers: list[Layer], W: dict[str, Tensor] | None = None) -> dict[str, int]:
    allowance = settle(plan, layers)
    return allowance.allocate(scores(allowance, W or weights(layers)))


def left(layers: list[Layer], alive: dict[str, Tensor], unit: str = "weights") -> int:
    """What shrunken tensors hold: alive are the filters of each layer; each source feeds its readers in turn."""
    masks = {x.name: torch.ones(x.shape, dtype=torch.bool) for x in layers}
    place = dict.fromkeys(masks, 0)
    for x in layers:
        masks[x.name][~alive[x.name]] = False
        for reader, each in x.readers.items():
            feeds = alive[x.name].repeat_interleave(each)
            masks[reader][:, place[reader] : place[reader] + len(feeds)][:, ~feeds] = False
            place[reader] += len(feeds)
    return sum(int(masks[x.name].sum()) * (getattr(x, unit) // x.weights) for x in layers)

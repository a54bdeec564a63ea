"""Which layers read the heads of attention, and how wide a head is."""

import numpy as np
from onnx import ModelProto

from pruning.onnx.channels import label
from pruning.onnx.steps import Ids, Product


def head_widths(model: ModelProto) -> dict[str, int]:
    """By weight tensor of a layer: how many neighbouring inputs come from one head that could leave the graph.

    A head goes where this layer reads none of them: blocks of all rows and so many columns are whole heads.
    """
    labels = label(model)
    classes = labels.classes()
    stays = set(classes[labels.mask(labels.frozen)].tolist())
    heads = {c for grid, _ in labels.blocks.grids for c in np.unique(classes[grid]).tolist()} - stays
    products = [step for step in labels.steps if isinstance(step, Product) and step.groups == 1]
    widths = {p.weight: _width(classes[p.inputs]) for p in products if heads >= set(classes[p.inputs].tolist())}
    return {weight: width for weight, width in widths.items() if width > 1}


def _width(classes: Ids) -> int:
    """Length of the runs of equal numbers; 0 where they differ, or one number comes back or is the only one."""
    starts = np.flatnonzero(np.diff(classes, prepend=-1))
    lengths = np.diff(starts, append=len(classes))
    if len(starts) < 2 or len(set(classes[starts].tolist())) < len(starts) or (lengths != lengths[0]).any():
        return 0
    return int(lengths[0])

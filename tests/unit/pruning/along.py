"""The second process of tests: python -m tests.unit.pruning.along FOLDER RANK SIZE.

It does whatever the first process says, until that says nothing more.
"""

import sys

import torch
from torch._C._distributed_c10d import FileStore
from torch.nn import functional as F

from pruning import launch
from pruning.fit import Goal
from pruning.losses import distance
from pruning.onnx.network import Gives
from pruning.onnx.ops.normalization import BatchNorm
from pruning.processes import Group


def normalise(group: Group) -> list[dict[str, torch.Tensor]]:
    """What each process makes of its part of 7 examples far from 0, and the gradients of a loss that weighs them."""
    x, weights = (torch.randn(7, 3, 2, 2, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    part = group.part(7)
    mine = (x + 100)[part].requires_grad_()
    norm = BatchNorm(3)
    norm.group = group
    y = norm(mine)
    (y * weights[part]).sum().backward()
    grads = {"x": mine.grad, "scale": norm.weight.grad, "mean": norm.running_mean, "var": norm.running_var}
    return group.gathered([{"y": y.detach(), **{k: v.detach() for k, v in grads.items() if v is not None}}])


def normalised_alone() -> dict[str, torch.Tensor]:
    """The same by torch, for all of them."""
    x, weights = (torch.randn(7, 3, 2, 2, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    x = (x + 100).requires_grad_()
    scale, mean, var = torch.ones(3, requires_grad=True), torch.zeros(3), torch.ones(3)
    y = F.batch_norm(x, mean, var, scale, torch.zeros(3), training=True)
    (y * weights).sum().backward()
    assert x.grad is not None and scale.grad is not None
    return {"y": y.detach(), "x": x.grad, "scale": scale.grad, "mean": mean, "var": var}


def distances(group: Group) -> list[float]:
    """What each process adds to the loss of 7 examples, from outputs and a teacher's."""
    output, taught = (torch.randn(7, 5, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    part, goal = group.part(7), Goal("y", "values", "mse", "mse", None, 1)
    endings: dict[str, Gives] = {"y": "logits"}
    own = distance({"y": output[part]}, {"y": taught[part]}, endings, goal, 1.0, group=group)
    return group.gathered([own.item() * (part.stop - part.start) * group.size / 7])


def parts(group: Group) -> list[list[int]]:
    """Numbers that were dealt out, gathered, and what the first process said and made."""
    dealt = list(range(group.rank, 5, group.size))
    return [group.gathered(dealt), [group.agreed(group.rank), group.first(lambda: group.rank + 10)]]


def main(folder: str, rank: int, size: int) -> int:
    """Until nothing more is to be done."""
    print(launch.READY, flush=True)
    torch.set_num_threads(1)
    with launch._joined(FileStore(f"{folder}/store", size), Group(rank, size)) as group:
        while (call := group.agreed(None)) is not None:
            call(group=group)  # type: ignore[operator]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

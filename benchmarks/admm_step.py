"""What ADMM adds to a training step: LeNet-5, batch 128, steps of both kinds in turn."""

import statistics
import time

import numpy as np
import torch

from benchmarks.results import DATA, save
from pruning import admm
from pruning.batches import Batches
from pruning.budgets import settle
from pruning.data.cache import Source, read
from pruning.fit import check_fit
from pruning.objective import Objective
from pruning.onnx.analyse import analyse
from pruning.onnx.vet import vet
from pruning.plan import Plan
from pruning.sets import Sets
from pruning.train import Trainer

PAIRS = 400
ROUNDS = 11


def main() -> None:
    model = vet((DATA / "lenet5.onnx").read_bytes())
    analysis, network = analyse(model)
    network.to(torch.device("cpu"))
    dataset = read(Source(DATA / "mnist.npz")).bound(analysis.inputs)
    objective = Objective.of(check_fit(analysis, dataset.summary("npz")), network)
    plan = Plan.model_validate({"budget": {"pruning_rate": 20}})
    train = Batches.of(dataset.train, 128, 0, torch.device("cpu"))
    project = Sets.of(settle(plan, list(network.layers.values()))).project
    trainer = Trainer(network, train, objective, plan.train, lambda _: None)
    W = network.W()
    state = admm.init(W, project, dict.fromkeys(W, 1e-3))
    steps = round(plan.admm.epochs_per_round * train.steps)
    plain, penalised = _paired_steps(trainer, state, W)
    update = statistics.median(_timed(lambda: admm.step(state, W, project)) for _ in range(ROUNDS))
    step = statistics.median(plain)
    per_step = update / steps
    ratio = statistics.median(b / a for a, b in zip(plain, penalised, strict=True))
    save(
        "admm_step",
        {
            "plain step, ms (median)": round(step * 1e3, 3),
            "ADMM step, ms (median)": round(statistics.median(penalised) * 1e3, 3),
            "ADMM step / plain step (median of pairs)": round(ratio, 4),
            "update of Z and U, ms (median)": round(update * 1e3, 2),
            "training steps between two updates": steps,
            "with projections / plain step": round(ratio + per_step / step, 4),
        },
    )


def _paired_steps(
    trainer: Trainer, state: admm.State, W: dict[str, torch.nn.Parameter]
) -> tuple[list[float], list[float]]:
    plain: list[float] = []
    penalised: list[float] = []
    for i in range(PAIRS):
        plain.append(_timed(lambda: trainer.train(1, lambda _: 1e-4, lambda: None)))
        penalised.append(_timed(lambda: trainer.train(1, lambda _: 1e-4, lambda: admm.add_penalty_gradient(state, W))))
        if i == 20:  # warm by now
            plain.clear()
            penalised.clear()
    return plain, penalised


def _timed(work) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    np.random.seed(0)
    main()

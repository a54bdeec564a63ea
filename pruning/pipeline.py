"""The story of a pruning job."""

import time
from collections.abc import Mapping

import torch

from pruning.analysis import check_fit
from pruning.budgets import settle
from pruning.data import READERS
from pruning.data.dataset import Dataset
from pruning.deliver import Delivery, Trained, deliver
from pruning.errors import Cancelled, InvalidPlan
from pruning.listener import Listener, Metric
from pruning.methods import METHODS
from pruning.methods.problem import Checkpoint, Problem
from pruning.onnx.analyse import analyse
from pruning.onnx.convert import convert
from pruning.onnx.vet import vet
from pruning.order import Order
from pruning.plan import Plan
from pruning.report import Convergence
from pruning.train import Batches, top1

TRAINING = (0.05, 0.9)  # progress at which training begins and ends
EPOCHS_BETWEEN_CHECKPOINTS = 2


def prune(order: Order, listener: Listener, resume: Checkpoint | None = None) -> Delivery:
    """Prune, retrain, write back, verify and measure.

    Raises: PruningError: any of its kinds; nothing is delivered then.
    """
    started = time.monotonic()
    listener.phase("import", 0.0)
    model = vet(order.model)
    dataset = READERS[order.data_format](order.data, order.preprocess)
    analysis = analyse(model)
    check_fit(analysis, dataset.summary(order.data_format))
    network = convert(model)
    network.layers = {layer.name: layer for layer in analysis.layers}
    allowance = settle(order.plan, analysis.layers)
    listener.phase("baseline", 0.02)
    device = device_of(order.plan)
    network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    train, val = _batches(dataset, order.plan, device)
    tick = _Tick(listener)
    problem = Problem(network, train, val, order.plan, allowance, tick)
    tick.of = problem.total_steps
    if resume is None:
        listener.metric(Metric(0, "baseline", 0, {"accuracy": top1(network, val)}))
    convergence = _follow(problem, listener, resume)
    trained = Trained(model, network, dataset, order, convergence, str(device), started)
    return deliver(trained, listener)


def device_of(plan: Plan) -> torch.device:
    """The device that the plan asks for.

    Raises: InvalidPlan: CUDA is asked for and not there.
    """
    if plan.train.device == "cuda" and not torch.cuda.is_available():
        raise InvalidPlan("this machine has no CUDA device; use auto or cpu", "/train/device")
    wanted = plan.train.device
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")


def _batches(dataset: Dataset, plan: Plan, device: torch.device) -> tuple[Batches, Batches]:
    train, val = dataset.with_validation(plan.train.validation_share, plan.train.seed)
    return tuple(Batches.of(s, plan.train.batch_size, plan.train.seed, device) for s in (train, val))  # type: ignore[return-value]


def _follow(problem: Problem, listener: Listener, resume: Checkpoint | None) -> Convergence:
    """Run the method and tell the listener; returns how ADMM ended."""
    last = resume.residuals if resume else {}
    listener.phase(resume.phase if resume else "admm", TRAINING[0])
    for done in METHODS[problem.plan.method](problem, resume):
        offset = 0 if done.phase == "admm" else problem.plan.admm.rounds
        last = done.values if done.phase == "admm" else last
        listener.metric(Metric(offset + done.number, done.phase, done.number, done.values))
        if done.phase == "admm" or done.number % EPOCHS_BETWEEN_CHECKPOINTS == 0:
            listener.checkpoint(done.checkpoint)
        if done.phase == "admm" and done.number == done.of:
            listener.phase("prune", _progress(problem.total_steps, done.number * problem.steps_per_round))
            listener.phase("retrain", _progress(problem.total_steps, done.number * problem.steps_per_round))
    return _convergence(problem.plan, last)


def _convergence(plan: Plan, last: Mapping[str, float]) -> Convergence:
    """Args: last: values of the last ADMM round."""
    ended = f"all {plan.admm.rounds} rounds done; the hard prune took away {last['relative']:.1%} of the weights' norm"
    return Convergence(rounds=plan.admm.rounds, primal=last["primal"], dual=last["dual"], ended=ended)


class _Tick:
    """Turns training steps into progress, and a wish to stop into Cancelled."""

    def __init__(self, listener: Listener) -> None:
        self.listener, self.of = listener, 1

    def __call__(self, step: int) -> None:
        self.listener.progress(_progress(self.of, step))
        if self.listener.should_stop():
            raise Cancelled


def _progress(total: int, steps: int) -> float:
    begin, end = TRAINING
    return begin + (end - begin) * min(steps / max(total, 1), 1.0)

"""The story of a pruning job."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace

import torch

from pruning.batches import Batches
from pruning.budgets import settle
from pruning.data.cache import read
from pruning.data.dataset import Dataset, Split
from pruning.deliver import Delivery, Trained, deliver
from pruning.doubt import LOOKED_AT, doubt
from pruning.errors import Cancelled, InvalidPlan
from pruning.fit import check_fit
from pruning.listener import Listener, Metric
from pruning.methods import METHODS
from pruning.methods.problem import Checkpoint, Problem
from pruning.metrics import METRICS
from pruning.objective import Objective
from pruning.onnx import batchnorm
from pruning.onnx.analyse import analyse
from pruning.onnx.network import Network
from pruning.onnx.unshare import unshare
from pruning.onnx.vet import vet
from pruning.order import Order
from pruning.plan import Plan
from pruning.report import Convergence

TRAINING = (0.05, 0.9)  # progress at which training begins and ends
EXAMPLES_FOR_STATISTICS = 1024
EPOCHS_BETWEEN_CHECKPOINTS = 2


def prune(order: Order, listener: Listener, resume: Checkpoint | None = None) -> Delivery:
    """Prune, retrain, write back, verify and measure.

    Raises: PruningError: any of its kinds; nothing is delivered then.
    """
    started = time.monotonic() - (resume.numbers.get("seconds", 0.0) if resume else 0.0)
    begin = TRAINING[0] if resume else 0.0  # a job that was taken over does not run backwards
    listener.phase("import", begin)
    model = unshare(vet(order.model))
    dataset = read(order.source, order.cache)
    analysis, network = analyse(model)
    goal = check_fit(analysis, dataset.summary(order.data_format), order.plan.train.loss, order.plan.train.output)
    dataset = dataset.bound(analysis.inputs)
    allowance = settle(order.plan, analysis.layers)
    listener.phase("baseline", max(begin, 0.02))
    device = device_of(order.plan)
    network.to(device)
    objective = Objective.of(goal, network)
    train, val = _batches(dataset, order, device)
    _put_batch_norm_back(network, order.plan, train)
    tick = _Tick(listener)
    problem = Problem(network, train, val, order.plan, allowance, objective, tick)
    tick.of = problem.total_steps
    if resume is None:
        _baseline(problem, listener)
    convergence = _follow(problem, listener, resume, started)
    trained = Trained(model, network, dataset, order, objective, convergence, str(device), train.size, started)
    return deliver(trained, listener)


def device_of(plan: Plan) -> torch.device:
    """The device that the plan asks for.

    Raises: InvalidPlan: CUDA is asked for and not there.
    """
    if plan.train.device == "cuda" and not torch.cuda.is_available():
        raise InvalidPlan("this machine has no CUDA device; use auto or cpu", "/train/device")
    wanted = plan.train.device
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")


def _batches(dataset: Dataset, order: Order, device: torch.device) -> tuple[Batches, Batches]:
    """The memory is shared by the number of examples."""
    settings = order.plan.train
    train, val = dataset.with_validation(settings.validation_share, settings.seed)

    def made(split: Split) -> Batches:
        memory = order.memory * len(split) / (len(train) + len(val))
        return Batches.of(split, settings.batch_size, settings.seed, device, memory)

    return made(train), made(val)


def _put_batch_norm_back(network: Network, plan: Plan, train: Batches) -> None:
    """Where the plan says so, or leaves it open and the exporter seems to have folded it away."""
    wanted = plan.train.insert_batch_norm
    if batchnorm.is_folded(network) if wanted is None else wanted:
        steps = min(train.steps, math.ceil(EXAMPLES_FOR_STATISTICS / train.size))
        batchnorm.insert(network, (train.at(step)[0] for step in range(steps)))


def _baseline(problem: Problem, listener: Listener) -> None:
    """The dense network on the validation split; a warning where it is no better than chance."""
    counts, goal = problem.objective.count(problem.network, problem.val), problem.objective.goal
    listener.metric(Metric(0, "baseline", 0, {"accuracy": METRICS[goal.metric].value(counts)}, goal.metric))
    split = problem.val.split
    if text := doubt(goal, counts, split.preprocess, split.prepared(slice(0, LOOKED_AT))):
        listener.warning(text)


def _follow(problem: Problem, listener: Listener, resume: Checkpoint | None, started: float) -> Convergence:
    """Run the method and tell the listener; returns how ADMM ended."""
    ending = resume.numbers if resume else {"rounds": 0}
    share = _progress(problem.total_steps, ending.get("step", 0))
    if resume is None or (resume.phase == "admm" and not resume.is_last):
        listener.phase("admm", share)
    else:
        _begin_retraining(listener, share)
    for done in METHODS[problem.plan.method](problem, resume):
        if done.phase == "admm":
            ending = {**done.values, "rounds": done.number}
        step = done.number if done.phase == "admm" else int(ending["rounds"]) + done.number
        listener.metric(Metric(step, done.phase, done.number, done.values, problem.objective.goal.metric))
        if done.phase == "admm" or done.number % EPOCHS_BETWEEN_CHECKPOINTS == 0:
            listener.checkpoint(lambda d=done: _timed(d.checkpoint(), started))
        if done.phase == "admm" and done.is_last:
            _begin_retraining(listener, _progress(problem.total_steps, done.number * problem.steps_per_round))
    return _convergence(problem.plan, ending)


def _timed(checkpoint: Checkpoint, started: float) -> Checkpoint:
    """With the seconds that the job has taken so far, over all attempts."""
    return replace(checkpoint, numbers={**checkpoint.numbers, "seconds": time.monotonic() - started})


def _begin_retraining(listener: Listener, share: float) -> None:
    listener.phase("prune", share)
    listener.phase("retrain", share)


def _convergence(plan: Plan, ending: Mapping[str, float]) -> Convergence:
    """Args: ending: values of the last ADMM round, and its number as `rounds`."""
    rounds = int(ending["rounds"])
    how = f"converged after {rounds} of" if rounds < plan.admm.rounds else "ran through all"
    ended = f"{how} {plan.admm.rounds} rounds; the hard prune took away {ending['relative']:.1%} of the weights' norm"
    return Convergence(rounds=rounds, primal=ending["primal"], dual=ending["dual"], ended=ended)


class _Tick:
    """Turns training steps into progress, and a wish to stop into Cancelled."""

    def __init__(self, listener: Listener) -> None:
        self.listener, self.of = listener, 1

    def __call__(self, step: int) -> None:
        self.listener.progress(_progress(self.of, step))
        if self.listener.should_stop():
            raise Cancelled


def _progress(total: int, steps: float) -> float:
    begin, end = TRAINING
    return begin + (end - begin) * min(steps / max(total, 1), 1.0)

"""The story of a pruning job."""

import math
import time
from dataclasses import replace

import torch

from pruning.account import Trained
from pruning.aims import floor_of, over, with_rate
from pruning.analysis import Analysis
from pruning.batches import Batches, batch_size
from pruning.check import check, check_teacher
from pruning.course import total_steps
from pruning.data.cache import read
from pruning.data.dataset import Dataset, Split
from pruning.deliver import Delivery, deliver
from pruning.doubt import LOOKED_AT, doubt, pruned_before, regrown
from pruning.errors import InvalidPlan
from pruning.following import Tick, follow
from pruning.listener import Listener, Metric
from pruning.metrics import METRICS
from pruning.near_zero import near_zero
from pruning.objective import Objective
from pruning.onnx import batchnorm
from pruning.onnx.analyse import analyse
from pruning.onnx.fold import fold_batch_norms
from pruning.onnx.network import Network
from pruning.onnx.upload import open_upload
from pruning.order import Order
from pruning.plan import Plan
from pruning.processes import ALONE, Group
from pruning.stages.problem import Checkpoint, Problem
from pruning.train import Trainer

EXAMPLES_FOR_STATISTICS = 1024
MANY = 0.9  # of the weights: with fewer a model was pruned before
FRAMED = "the model takes a fixed number of examples at once: one process trains it, and the others end"
TOO_FEW = "a batch of {} examples is too small for {} processes: one trains, and the others end"


def prune(order: Order, listener: Listener, resume: Checkpoint | None = None) -> Delivery:
    """Prune, retrain, write back, verify and measure.

    Raises: PruningError: any of its kinds; nothing is delivered then.
    """
    trained = train_network(order, listener, resume)
    assert trained is not None  # one process is always needed
    return deliver(trained, listener)


def train_network(
    order: Order, listener: Listener, resume: Checkpoint | None = None, group: Group = ALONE
) -> Trained | None:
    """What a group of processes can do together: all up to the network as it is to be delivered.

    None: this process is not needed. Raises: PruningError.
    """
    started = time.monotonic() - (resume.numbers.get("seconds", 0.0) if resume else 0.0)
    begin = resume.numbers["progress"] if resume else 0.0  # a job that was taken over does not run backwards
    listener.phase("import", begin)
    model = open_upload(order.model)
    nodes = len(model.graph.node)
    dataset = group.in_turn(lambda: read(order.source, order.cache))
    if order.plan.quantize is not None:  # levels must not be scaled by channel afterwards
        model = fold_batch_norms(model)
    analysis, network = analyse(model)
    goal = check(order.plan, analysis, dataset.summary(order.data_format))
    dataset = dataset.bound(analysis.inputs)
    plan = group.first(lambda: with_rate(order.plan, model, network))
    listener.phase("baseline", max(begin, 0.02))
    if why := _why_alone(group, network, dataset, order.plan):
        listener.warning(why)
        if group.rank > 0:
            return None
        group = ALONE
    device = device_of(order.plan, group)
    network.to(device)
    mixed = is_mixed(order.plan, device)
    teacher = _teacher(order, analysis, device)
    objective = replace(Objective.of(goal, network, order.plan.distill, mixed, teacher), group=group)
    train, val, test = _batches(dataset, order, device, group)
    floor = floor_of(plan, objective, network, val, test)
    _put_batch_norm_back(network, plan, train, was_there=len(model.graph.node) < nodes)
    trainer = Trainer(network, train, objective, plan.train, Tick(listener, total_steps(plan, train.steps)))

    def too_large() -> float:
        return group.first(lambda: over(order.plan, model, network))

    problem = Problem(model, network, train, val, plan, objective, trainer, floor, too_large)
    warning = _zeros_before(network, plan)
    if resume is None:
        _baseline(problem, listener, warning)
    ended = follow(problem, listener, resume, started)
    ended = replace(ended, notes=(*warning, *ended.notes))
    return Trained(model, network, dataset, order, objective, ended, str(device), train.size, started)


def _teacher(order: Order, analysis: Analysis, device: torch.device) -> Network | None:
    """The model that teaches, where it is another than the dense one.

    Raises: InvalidPlan: its inputs or outputs are others.
    """
    if order.teacher is None:
        if order.plan.distill.teacher is not None:
            raise InvalidPlan("the plan names a teacher, but none was given: use --teacher FILE", "/distill/teacher")
        return None
    found, network = analyse(open_upload(order.teacher))
    check_teacher(analysis, found)
    network.to(device)
    return network


def device_of(plan: Plan, group: Group = ALONE) -> torch.device:
    """The device that the plan asks for; each process of a group has set its own.

    Raises: InvalidPlan: CUDA is asked for and not there, or not for each process.
    """
    if plan.train.device == "cuda" and not torch.cuda.is_available():
        raise InvalidPlan("this machine has no CUDA device; use auto or cpu", "/train/device")
    wanted = plan.train.device
    device = torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")
    if device.type == "cuda" and group.size > (there := torch.cuda.device_count()):
        raise InvalidPlan(
            f"this machine has {there} CUDA devices for {group.size} processes; start no more than {there}"
        )
    return device


def is_mixed(plan: Plan, device: torch.device) -> bool:
    """Whether products are to be in bfloat16."""
    return plan.train.precision == "mixed" or (plan.train.precision == "auto" and device.type == "cuda")


def _batches(dataset: Dataset, order: Order, device: torch.device, group: Group) -> tuple[Batches, Batches, Batches]:
    """To train on, to choose by, and to end with.

    The memory is shared by the processes, as each holds all examples, and by the number of examples.
    """
    settings = order.plan.train
    train, val = dataset.with_validation(settings.validation_share, settings.seed)

    most = order.memory / group.size
    if device.type == "cuda":  # what fits there stays there, with room for the training
        most = min(order.memory, torch.cuda.mem_get_info(device)[0] / 2)

    def made(split: Split) -> Batches:
        memory = most * len(split) / (len(train) + len(val))
        return replace(Batches.of(split, settings.batch_size, settings.seed, device, memory), group=group)

    test = replace(Batches.of(dataset.test, None, 0, device, 0), group=group)
    return replace(made(train), augment=settings.augment), made(val), test


def _why_alone(group: Group, network: Network, dataset: Dataset, plan: Plan) -> str | None:
    """Why a group cannot share the batches; None: it can, or is one process."""
    if group.size == 1:
        return None
    train, _ = dataset.with_validation(plan.train.validation_share, plan.train.seed)
    size = batch_size(plan.train.batch_size, len(train))
    return FRAMED if network.frame is not None else TOO_FEW.format(size, group.size) if size < group.size else None


def _put_batch_norm_back(network: Network, plan: Plan, train: Batches, was_there: bool) -> None:
    """Where the plan says so, or leaves it open and it was folded away, by the exporter as it seems or here."""
    wanted = plan.train.insert_batch_norm
    if was_there or batchnorm.is_folded(network) if wanted is None else wanted:
        steps, whole = min(train.steps, math.ceil(EXAMPLES_FOR_STATISTICS / train.size)), replace(train, group=ALONE)
        batchnorm.insert(network, (whole.at(step)[0] for step in range(steps)))


def _zeros_before(network: Network, plan: Plan) -> tuple[str, ...]:
    """What there is to be said of a model that came with zeros, and more where the budget asks for fewer."""
    W = network.W().values()
    total, kept = sum(w.numel() for w in W), sum(int(w.count_nonzero()) for w in W)
    if kept >= total * MANY:
        return ()
    of_weights = plan.budget.pruning_rate is not None or plan.budget.sparsity is not None
    text = regrown(total, kept, plan.budget.kept_of(total)) if of_weights else None
    return (text or pruned_before(total, kept),)


def _baseline(problem: Problem, listener: Listener, warnings: tuple[str, ...]) -> None:
    """The dense network on the validation split; a warning where it is no better than chance, and those given."""
    counts, goal = problem.objective.count(problem.network, problem.val), problem.objective.goal
    values, layers = {"accuracy": METRICS[goal.metric].value(counts)}, near_zero(problem.network.W())
    listener.metric(Metric(0, "baseline", 0, values, goal.metric, layers))
    split = problem.val.split
    if text := doubt(goal, counts, split.preprocess, split.prepared(slice(0, LOOKED_AT))):
        listener.warning(text)
    for warning in warnings:
        listener.warning(warning)

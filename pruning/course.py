"""A whole job's training: the plan's method, then quantization."""

from pruning.methods import METHODS
from pruning.methods.gradual import rounds
from pruning.methods.progressive import stages
from pruning.plan import Plan
from pruning.settings import Admm, Retrain
from pruning.stages.problem import Checkpoint, Events, Problem
from pruning.stages.quantization import AFTER_ALL, quantization


def course(problem: Problem, resume: Checkpoint | None) -> Events:
    """What happens, round by round. Raises: Diverged."""
    if resume is None or resume.stage != AFTER_ALL:
        yield from METHODS[problem.plan.method](problem, resume)
        resume = None
    if problem.plan.quantize is not None:
        yield from quantization(problem, problem.plan.quantize, resume)


def total_steps(plan: Plan, steps: int) -> int:
    """Training steps of a whole job, at most, with so many in an epoch."""

    def of(admm: Admm, retrain: Retrain) -> float:
        return admm.rounds * max(1, round(admm.epochs_per_round * steps)) + retrain.epochs * steps

    stage = of(plan.admm, plan.retrain)
    pruning = {
        "direct": stage,
        "progressive": stages(plan) * stage,
        "joint": stage,
        "gradual": (rounds(plan) + plan.retrain.epochs) * steps,
    }
    quantizing = of(plan.quantize.admm, plan.quantize.retrain) if plan.quantize else 0
    return round(pruning[plan.method] + quantizing)

"""Partial models at rising rates, each from the best of those before; and the search for a rate that is made of it.

Source: Ye et al. 2018, "Progressive weight pruning of deep neural networks using ADMM", 2.4, algorithm 1, figure 2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pruning.plan import Plan
from pruning.stages.problem import Checkpoint, Events, Memory, Problem, unpack
from pruning.stages.search import search
from pruning.stages.search import stages as stages_of_search
from pruning.stages.stage import Stage

FIRST, RATIO = 5.0, 2.0  # where no rates are given: the first is a fifth of the goal, and each next twice the last


def progressive(problem: Problem, resume: Checkpoint | None = None) -> Events:
    """Algorithm 1: the first `pool` partial models from the dense net, each next from the best, which it replaces.

    Where the budget is a drop in accuracy, the rates are searched for. Raises: Diverged.
    """
    if problem.plan.budget.is_search:
        yield from search(problem, resume)
        return
    dense = Partial(problem.state(), 0.0)
    pool = _held(resume)
    size = problem.plan.progressive.pool
    rates = rates_of(problem.plan)
    for number in range(resume.stage if resume else 0, len(rates)):
        place = number if number < size else max(range(len(pool)), key=lambda i: pool[i].score)
        start = dense if number < size else pool[place]
        problem.network.module.load_state_dict(start.state)
        budget = problem.plan.budget.at(rates[number]) if number < len(rates) - 1 else problem.plan.budget
        score = yield from Stage(problem, budget, number, _memory(pool)).run(resume)
        resume = None
        pool[place : place + 1] = [Partial(problem.state(), score)]


def stages(plan: Plan) -> int:
    """How many stages there are at most."""
    return stages_of_search(plan) if plan.budget.is_search else len(rates_of(plan))


def rates_of(plan: Plan) -> tuple[float, ...]:
    """Of the partial models and, last, the goal."""
    goal, given = plan.budget.rate, plan.progressive.rates
    if given is None:
        first = [goal / FIRST * RATIO**i for i in range(3)]
        given = tuple(rate for rate in first if rate > 1)
    return (*(rate for rate in given if rate < goal), goal)


@dataclass(frozen=True)
class Partial:
    """A partial model: its state, and its score on the validation split."""

    state: Mapping[str, Tensor]
    score: float


def _memory(pool: Sequence[Partial]) -> Memory:
    return Memory(
        {f"pool.{i}": partial.state for i, partial in enumerate(pool)},
        {f"pool.{i}": partial.score for i, partial in enumerate(pool)},
    )


def _held(resume: Checkpoint | None) -> list[Partial]:
    if resume is None:
        return []
    scores = {k: v for k, v in resume.numbers.items() if k.startswith("pool.")}
    return [Partial(unpack(resume.tensors, k), score) for k, score in sorted(scores.items())]

"""The highest rate that loses no more than the user allows, found on the validation split.

Progressive pruning is the search: every trial starts from the partial model of the highest rate that was good enough.
"""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from pruning.analysis import Layer
from pruning.budgets import highest_rate
from pruning.plan import Plan
from pruning.settings import Search
from pruning.stages.problem import Checkpoint, Events, Memory, Problem, Searched, Trial, unpack
from pruning.stages.stage import Stage

CLOSE = 1.02  # two rates of a smaller ratio are one
REACHED = 0.9  # of a rate that was asked for; less where more would have cut the net in two


def search(problem: Problem, resume: Checkpoint | None = None) -> Events:
    """Rates in equal ratios until one falls below the floor, then between the last two; ends at the best.

    Where not even the first trials are good enough, the network ends dense. Raises: Diverged.
    """
    floor = problem.floor
    assert floor is not None  # the budget is a search
    trials, state = _held(resume) or ([], problem.state())
    settings = bounded(problem.plan, tuple(problem.network.layers.values()))
    while (rate := next_rate(settings, trials, floor)) is not None:
        problem.network.module.load_state_dict(state)
        memory = Memory({"partial": state}, _numbers(trials))
        score = yield from Stage(problem, problem.plan.budget.at(rate), len(trials), memory).run(resume)
        resume = None
        trials = [*trials, Trial(problem.rate(), score, rate)]
        state = problem.state() if score >= floor else state
    problem.network.module.load_state_dict(state)
    yield Searched(trials, floor)


def bounded(plan: Plan, layers: Sequence[Layer]) -> Search:
    """The plan's settings, with no rate that its rules and patterns leave no room for."""
    most = highest_rate(plan, layers)
    return plan.search.model_copy(update={"highest_rate": min(plan.search.highest_rate, most)})


def stages(plan: Plan) -> int:
    """How many stages there are at most."""
    rising = math.ceil(math.log(plan.search.highest_rate / plan.search.first_rate, plan.search.factor)) + 1
    return max(rising, 1) + plan.search.refinements


def next_rate(settings: Search, trials: Sequence[Trial], floor: float) -> float | None:
    """What to try after these trials; None: nothing more, also where a rate could not be reached."""
    if any(trial.rate < REACHED * trial.asked for trial in trials):
        return None
    good = max((t.rate for t in trials if t.score >= floor), default=1.0)
    bad = min((t.rate for t in trials if t.score < floor and t.rate > good), default=None)
    if bad is None:
        rate = min(settings.first_rate if not trials else good * settings.factor, settings.highest_rate)
        return rate if rate > good else None
    refined = len(trials) - 1 - next(i for i, t in enumerate(trials) if t.score < floor)
    return math.sqrt(good * bad) if refined < settings.refinements and bad > CLOSE * good else None


def _numbers(trials: Sequence[Trial]) -> dict[str, float]:
    return {f"trial.{i}.{k}": v for i, t in enumerate(trials) for k, v in vars(t).items()}


def _held(resume: Checkpoint | None) -> tuple[list[Trial], Mapping[str, Tensor]] | None:
    if resume is None:
        return None
    numbers = resume.numbers
    names = ("rate", "score", "asked")
    trials = [Trial(**{k: numbers[f"trial.{i}.{k}"] for k in names}) for i in range(resume.stage)]
    return trials, unpack(resume.tensors, "partial")

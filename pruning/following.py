"""What a listener is told of a job's training."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pruning.course import course, total_steps
from pruning.errors import Cancelled
from pruning.listener import Listener, Metric
from pruning.near_zero import near_zero
from pruning.plan import Plan
from pruning.report import Convergence, SearchPoint
from pruning.report import Round as ToldRound
from pruning.stages.problem import Began, Checkpoint, Problem, Round, Searched, Warned

TRAINING = (0.05, 0.9)  # progress at which training begins and ends
EPOCHS_BETWEEN_CHECKPOINTS = 2
FLOOR = (
    "the search asked for {:.4g} on the {:,} validation examples: what the dense model gives there or on the test "
    "split, whichever is worse, less what may be lost; few examples make it uncertain, give x_val or a larger "
    "train.validation_share. No pruned model was judged by the test split before this report"
)


@dataclass(frozen=True)
class Ended:
    """How training ended: ADMM, of the last stage; a search, if there was one; what went another way than planned.

    history: every round, those before a restart too.
    """

    convergence: Convergence
    search: tuple[SearchPoint, ...] = ()
    notes: tuple[str, ...] = ()
    history: tuple[ToldRound, ...] = ()


def follow(problem: Problem, listener: Listener, resume: Checkpoint | None, started: float) -> Ended:
    """Train, and tell the listener. started: by time.monotonic()."""
    search, notes = _searched(resume), list[str]()
    ending: Mapping[str, float] = resume.numbers if resume else {"rounds": 0}
    shown = int(resume.numbers["shown"]) if resume else 0
    history = list[Mapping[str, Any]](resume.history if resume else ())
    total = total_steps(problem.plan, problem.train.steps)
    for event in course(problem, resume):
        match event:
            case Began(phase):
                listener.phase(phase, progress_at(total, problem.trainer.step))
            case Warned(text):
                listener.warning(text)
                notes.append(text)
            case Searched(trials, floor):
                sign = problem.objective.score(1)
                notes.append(FLOOR.format(sign * floor, len(problem.val)))
                search = tuple(
                    SearchPoint(pruning_rate=t.rate, accuracy=sign * t.score, met=t.score >= floor) for t in trials
                )
            case Round(phase, number, is_last, values):
                shown += 1
                history.append(_noted(shown, phase, number, values))
                ending = {**values, "rounds": number} if phase in ("admm", "quantize") else ending
                metric, layers = problem.objective.goal.metric, near_zero(problem.network.W())
                listener.metric(Metric(shown, phase, number, values, metric, layers))
                if phase != "retrain" or is_last or number % EPOCHS_BETWEEN_CHECKPOINTS == 0:
                    told = {"shown": shown, "progress": progress_at(total, problem.trainer.step), **_numbers(search)}
                    so_far = tuple(history)
                    listener.checkpoint(lambda e=event, n=told, r=so_far: _told(e.checkpoint(), started, n, r))
    rounds = tuple(ToldRound.model_validate(one) for one in history)
    return Ended(_convergence(problem.plan, ending), search, tuple(notes), rounds)


def _told(
    checkpoint: Checkpoint, started: float, told: Mapping[str, float], history: Sequence[Mapping[str, Any]]
) -> Checkpoint:
    """With the seconds that the job has taken so far, over all attempts, and what was told of it."""
    numbers = {**checkpoint.numbers, **told, "seconds": time.monotonic() - started}
    return replace(checkpoint, numbers=numbers, history=history)


def _noted(step: int, phase: str, number: int, values: Mapping[str, float]) -> dict[str, Any]:
    """A round as the report has it; what is not finite is left out, as JSON has no word for it."""
    known = {k: float(v) for k, v in values.items() if k in ToldRound.model_fields and math.isfinite(v)}
    return {**known, "step": step, "phase": phase, "round": number}


def _numbers(search: Sequence[SearchPoint]) -> dict[str, float]:
    return {f"searched.{i}.{k}": float(v) for i, point in enumerate(search) for k, v in point.model_dump().items()}


def _searched(resume: Checkpoint | None) -> tuple[SearchPoint, ...]:
    """What a search had tried that ended before this checkpoint."""
    numbers, points = resume.numbers if resume else {}, list[SearchPoint]()
    while f"searched.{len(points)}.met" in numbers:
        at = {k: numbers[f"searched.{len(points)}.{k}"] for k in SearchPoint.model_fields}
        points.append(SearchPoint.model_validate({**at, "met": bool(at["met"])}))
    return tuple(points)


@dataclass(frozen=True)
class Tick:
    """Turns training steps, of so many in all, into progress, and a wish to stop into Cancelled."""

    listener: Listener
    total: int

    def __call__(self, step: int) -> None:
        """After a training step. Raises: Cancelled."""
        self.listener.progress(progress_at(self.total, step))
        if self.listener.should_stop():
            raise Cancelled


def progress_at(total: int, steps: float) -> float:
    """Share of the job that is done after so many training steps."""
    begin, end = TRAINING
    return begin + (end - begin) * min(steps / max(total, 1), 1.0)


def _convergence(plan: Plan, ending: Mapping[str, float]) -> Convergence:
    """Args: ending: values of the last ADMM round, and its number as `rounds`."""
    if not ending["rounds"]:
        return Convergence(rounds=0, primal=0, dual=0, ended=f"no ADMM round was run ({plan.method})")
    rounds, most = int(ending["rounds"]), (plan.quantize.admm if plan.quantize else plan.admm).rounds
    what = "their levels" if plan.quantize else "the pruned net"
    how = f"converged after {rounds} of" if rounds < most else "ran through all"
    ended = f"{how} {most} rounds; the weights ended {100 * ending['relative']:.1f} % of their norm away from {what}"
    return Convergence(
        rounds=rounds, primal=ending["primal"], dual=ending["dual"], ended=ended, relative=ending["relative"]
    )

"""Direct ADMM pruning, then masked retraining.

Source: Zhang et al. 2018, "A systematic DNN weight pruning framework using ADMM"; Ye et al. 2018, 2.2 and 2.3.
"""

from pruning.stages.problem import Checkpoint, Events, Problem
from pruning.stages.stage import Stage


def direct(problem: Problem, resume: Checkpoint | None = None) -> Events:
    """One stage to the goal; the network ends as the best epoch on the validation split.

    Raises: Diverged: W, U or the loss stopped being finite, or the residual grew, twice.
    """
    yield from Stage(problem, problem.plan.budget).run(resume)

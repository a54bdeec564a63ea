"""Published methods, one a file. METHODS[plan.method](problem, resume) yields what happens, round by round."""

from collections.abc import Callable

from pruning.methods.direct import direct
from pruning.methods.gradual import gradual
from pruning.methods.joint import joint
from pruning.methods.progressive import progressive
from pruning.plan import Method
from pruning.stages.problem import Checkpoint, Events, Problem

METHODS: dict[Method, Callable[[Problem, Checkpoint | None], Events]] = {
    "direct": direct,
    "progressive": progressive,
    "joint": joint,
    "gradual": gradual,
}

"""Published methods, one a file. METHODS[plan.method](problem, resume) yields what happens, round by round."""

from collections.abc import Callable

from pruning.methods import direct as _direct
from pruning.methods import progressive as _progressive
from pruning.methods.direct import direct
from pruning.methods.problem import Checkpoint, Events, Problem
from pruning.methods.progressive import progressive
from pruning.plan import Method, Plan

METHODS: dict[Method, Callable[[Problem, Checkpoint | None], Events]] = {"direct": direct, "progressive": progressive}
STAGES: dict[Method, Callable[[Plan], int]] = {"direct": _direct.stages, "progressive": _progressive.stages}

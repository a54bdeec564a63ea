"""Calls timed in turn, so that their ratios hold on a noisy machine; and nets that must be equal before they may win.

What is counted is the processor time of this thread, which does all that a session of one thread does: waiting for a
processor is not the net's time, and long runs wait more often than short ones.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto

from pruning.errors import OutOfMemory, RejectedModel, first_line
from pruning.measure import Feeds, Frame, session
from pruning.onnx.agree import difference
from pruning.onnx.convert import stored_tensors

LEAST, MOST = 3, 2000  # rounds
HOPELESS = 0.8  # of the best one's speed, after the least number of rounds
TIE = 1.02  # up to which the plain net is taken
LIMIT, HALF_LIMIT = 1e-5, 5e-3  # relative; a value of half precision is rounded behind every node

Call = Callable[[], object]
Outputs = Sequence[np.ndarray]


class Clock:
    """Seconds that are left of some."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    def left(self) -> float:
        """Never negative."""
        return max(self.end - time.perf_counter(), 0.0)


def rounds(calls: Sequence[Call], seconds: float, least: int = LEAST, between: Call | None = None) -> np.ndarray:
    """(rounds, calls) milliseconds.

    Args: seconds: exceeded only for the least number of rounds; between: called before each call, and not counted.
    """
    for call in calls:
        call()
    clock, taken = Clock(seconds), list[list[float]]()
    while len(taken) < least or (clock.left() and len(taken) < MOST):
        taken.append([_ms(call, between) for call in calls])
    return np.array(taken)


def speedups(taken: np.ndarray) -> np.ndarray:
    """(calls,) how many times as fast as the first one, by the median of the rounds."""
    return np.median(taken[:, :1] / taken, axis=0)


def agrees(got: Outputs, expected: Outputs, limit: float) -> bool:
    """Whether outputs are equal: within limit times the largest value, where they are not whole numbers."""
    return all(_close(g, e, limit) for g, e in zip(got, expected, strict=True))


class Race:
    """The plain net against others, one after the other: each must give its outputs, and beat the best so far.

    Raises: RejectedModel: ONNX Runtime does not run the plain net.
    """

    def __init__(self, plain: ModelProto, x: Feeds) -> None:
        self.plain = self.best = session(plain.SerializeToString(), threads=1)
        self.feed = Frame.of(self.plain, x).pieces(x)[0]
        halves = any(tensor.data_type == TensorProto.FLOAT16 for tensor in stored_tensors(plain).values())
        self.limit = HALF_LIMIT if halves else LIMIT
        self.expected = _run(self.plain, self.feed)

    def challenge(self, model: ModelProto, seconds: float) -> bool:
        """Whether this net is the best now."""
        clock = Clock(seconds)
        content = model.SerializeToString()
        try:
            rival = session(content, threads=1)
            if not agrees(_run(rival, self.feed), self.expected, self.limit):
                return False
        except (RejectedModel, OutOfMemory):  # a form that this runtime, or machine, cannot run
            return False
        speedup = self._speedup(rival, 0)
        if speedup > HOPELESS and clock.left():
            speedup = self._speedup(rival, clock.left())
        if speedup > (TIE if self.best is self.plain else 1) and _is_valid(content):
            self.best = rival
            return True
        return False

    def result(self, seconds: float) -> tuple[float, float]:
        """Milliseconds of the plain and of the best net; the plain one is the best where they are about as fast."""
        taken = rounds(self._calls(self.plain, self.best), seconds)
        before, speedup = float(np.median(taken[:, 0])), float(speedups(taken)[1])
        if speedup <= TIE:
            self.best = self.plain
        return before, before if self.best is self.plain else before / speedup

    def _speedup(self, rival: ort.InferenceSession, seconds: float) -> float:
        return float(speedups(rounds(self._calls(self.best, rival), seconds))[1])

    def _calls(self, *sessions: ort.InferenceSession) -> list[Call]:
        return [lambda s=s: s.run(None, self.feed) for s in sessions]


def _is_valid(content: bytes) -> bool:
    try:
        onnx.checker.check_model(content)
    except onnx.checker.ValidationError:
        return False
    return True


def _run(s: ort.InferenceSession, feed: Feeds) -> Outputs:
    try:
        return [np.asarray(y) for y in s.run(None, dict(feed))]
    except Exception as error:  # ONNX Runtime raises a dozen classes of its own, with no common base
        raise RejectedModel(f"ONNX Runtime does not run the file: {first_line(error)}") from error


def _close(got: np.ndarray, expected: np.ndarray, limit: float) -> bool:
    if got.shape != expected.shape or expected.dtype.kind != "f":
        return np.array_equal(got, expected)
    return difference(got, expected)[1] <= limit


def _ms(call: Call, between: Call | None) -> float:
    if between:
        between()
    start = time.thread_time_ns()
    call()
    return max(time.thread_time_ns() - start, 1) / 1e6

"""A job, behind the walls: prune, and tell the supervisor."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from pruning.analysis import Preprocess
from pruning.listener import Metric, Phase
from pruning.order import Order
from pruning.pipeline import prune
from pruning.plan import Plan
from pruning.result import Result
from pruning.stages.problem import Checkpoint
from worker import checkpoints
from worker.endings import is_disk_full
from worker.errand import JobErrand
from worker.messages import Delivered, PhaseBegins, Progress, Round, Saved, StartsOver, Voice, Warned

log = logging.getLogger(__name__)
SECONDS_BETWEEN_UPDATES = 1.0


class Told:
    """A listener that tells the supervisor."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._first: tuple[float, float] | None = None
        self._next = 0.0
        self._checkpoints = 0

    def phase(self, name: Phase, progress: float) -> None:
        """Say so."""
        self._voice.say(PhaseBegins(name=name, progress=progress))

    def progress(self, progress: float) -> None:
        """Say progress and the time left, about once a second."""
        now = time.monotonic()
        self._first = self._first or (now, progress)
        if now < self._next:
            return
        self._next = now + SECONDS_BETWEEN_UPDATES
        self._voice.say(Progress(progress=progress, eta_seconds=self._eta(now, progress)))

    def metric(self, metric: Metric) -> None:
        """Say so."""
        self._voice.say(Round.model_validate(metric, from_attributes=True))

    def warning(self, text: str) -> None:
        """Say so."""
        self._voice.say(Warned(text=text))

    def checkpoint(self, make: Callable[[], Checkpoint]) -> None:
        """Leave it in the folder; without space for it the job goes on all the same."""
        self._checkpoints += 1
        name = f"checkpoint-{self._checkpoints}"
        try:
            Path(name).write_bytes(checkpoints.dump(make()))
        except OSError as error:
            if not is_disk_full(error):
                raise
            Path(name).unlink(missing_ok=True)
            self.warning("the service has no space left for a checkpoint; if the job is interrupted, more is lost")
            return
        self._voice.say(Saved(file=name))

    def should_stop(self) -> bool:
        """The supervisor ends this process when it should."""
        return False

    def _eta(self, now: float, progress: float) -> float | None:
        began, first = self._first or (now, progress)
        if progress <= first:
            return None
        return round((now - began) / (progress - first) * (1 - progress), 1)


def run_job(errand: JobErrand, voice: Voice, _: int) -> None:
    """Prune, and leave the files in the folder."""
    order = Order(
        errand.model.read_bytes(),
        errand.data.path,
        Plan.model_validate(errand.plan),
        errand.data.format,
        Preprocess.model_validate(errand.data.preprocess),
        errand.data.most_bytes,
        errand.data.cache,
        errand.memory,
        errand.teacher.read_bytes() if errand.teacher else None,
        errand.model_name,
        errand.dataset_name,
    )
    delivery = prune(order, Told(voice), _resume(errand.checkpoint, voice))
    for name, content in delivery.files.items():
        Path(name).write_bytes(content)
    result = Result.of(delivery.report).model_dump(mode="json")
    voice.say(Delivered(files=list(delivery.files), result=result))


def _resume(file: Path | None, voice: Voice) -> Checkpoint | None:
    """None, and a word, where it cannot be read: the job starts over."""
    if file is None:
        return None
    try:
        return checkpoints.load(file.read_bytes())
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        log.warning("the job starts over, its checkpoint is unreadable: %s", error)
        voice.say(StartsOver())
        return None

"""The work itself, behind the walls: prune, or look at an upload, and tell the supervisor."""

import logging
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError

from pruning import launch
from pruning.analysis import Preprocess
from pruning.data.cache import Source, read
from pruning.data.shelf import Bounds
from pruning.errors import PruningError
from pruning.listener import Metric, Phase, Silent
from pruning.onnx.analyse import analyse
from pruning.onnx.upload import open_upload
from pruning.onnx.vet import Limits
from pruning.order import Order
from pruning.pipeline import device_of
from pruning.plan import Plan
from pruning.result import Result
from pruning.stages.problem import Checkpoint
from worker import checkpoints
from worker.endings import NO_SPACE, UNFORESEEN, status_of
from worker.errand import DataFile, DatasetErrand, Errand, JobErrand, ModelErrand
from worker.messages import Delivered, Failed, Judged, PhaseBegins, Progress, Round, Saved, StartsOver, Voice, Warned

log = logging.getLogger(__name__)
SECONDS_BETWEEN_UPDATES = 1.0
UNREADABLE = "it cannot be read ({}); the service's log says more: please report this file"


class Told(Silent):
    """A listener that tells the supervisor, which ends this process when it should."""

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
            if status_of(error) != NO_SPACE:
                raise
            Path(name).unlink(missing_ok=True)
            self.warning("the service has no space left for a checkpoint; if the job is interrupted, more is lost")
            return
        self._voice.say(Saved(file=name))

    def _eta(self, now: float, progress: float) -> float | None:
        began, first = self._first or (now, progress)
        if progress <= first:
            return None
        return round((now - began) / (progress - first) * (1 - progress), 1)


def run_job(errand: JobErrand, voice: Voice, _: int) -> None:
    """Prune, in as many processes as there are to be, and leave the files in the folder."""
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
    resume, processes = _resume(errand.checkpoint, voice), _processes(errand.processes, order.plan)
    delivery = launch.prune(order, Told(voice), resume, processes)
    for name, content in delivery.files.items():
        Path(name).write_bytes(content)
    result = Result.of(delivery.report).model_dump(mode="json")
    voice.say(Delivered(files=list(delivery.files), result=result))


def inspect_model(errand: ModelErrand, voice: Voice, memory: int) -> None:
    """Ready with an analysis, or rejected with the reason."""
    limit_addresses(memory)

    def look() -> dict[str, Any]:
        analysis, _ = analyse(open_upload(errand.model.read_bytes(), Limits(bytes=errand.most_bytes)))
        return {"analysis": analysis.model_dump(mode="json")}

    _judge(voice, look)


def inspect_dataset(errand: DatasetErrand, voice: Voice, _: int) -> None:
    """Ready with a summary, or rejected with the reason."""

    def look() -> dict[str, Any]:
        dataset = read(_source(errand.data), errand.data.cache)
        dataset.train.prepared(slice(0, 1))
        return {"summary": dataset.summary(errand.data.format).model_dump(mode="json")}

    _judge(voice, look)


WORK: dict[str, Callable[[Any, Voice, int], None]] = {
    "job": run_job,
    "model": inspect_model,
    "dataset": inspect_dataset,
}


def do(id: str, errand: Errand, voice: Voice, memory: int) -> None:
    """Whatever is wrong with a job is said to the supervisor, a traceback only in the log.

    Raises: what this machine did not have, by worker.endings; anything unforeseen about an upload.
    """
    try:
        WORK[errand.kind](errand, voice, memory)
    except Exception as error:
        if errand.kind != "job" or status_of(error) != UNFORESEEN:
            raise
        if isinstance(error, PruningError):
            voice.say(Failed(error=str(error)))
            return
        log.exception("%s %s", errand.kind, id)
        voice.say(Failed(error=f"an error in the service itself ({type(error).__name__}); its log names job {id}"))


def limit_addresses(memory: int) -> None:
    """Bound the address space to what libraries take now and `memory` more: reservations count, as those of files do.

    For models alone: data sets are mapped from disk, and CUDA reserves more than any machine has.
    """
    most = psutil.Process(os.getpid()).memory_info().vms + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _processes(most: int, plan: Plan) -> int:
    """No more than there are devices, where the job runs on such: each process takes one of its own."""
    return min(most, torch.cuda.device_count()) if device_of(plan).type == "cuda" else most


def _source(data: DataFile) -> Source:
    preprocess = Preprocess.model_validate(data.preprocess)
    return Source(data.path, data.format, preprocess, Bounds(bytes=data.most_bytes))


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


def _judge(voice: Voice, look: Callable[[], dict[str, Any]]) -> None:
    problems: list[str] = []
    facts: dict[str, Any] = {}
    try:
        facts = look()
    except Exception as error:
        if status_of(error) != UNFORESEEN:
            raise
        log.warning("it is rejected", exc_info=True)
        problems = [str(error) if isinstance(error, PruningError) else UNREADABLE.format(type(error).__name__)]
    voice.say(Judged(problems=problems, facts=facts))

"""A look at an upload, behind the walls: read it through, and tell the supervisor."""

import logging
import os
import resource
from collections.abc import Callable
from typing import Any

import psutil

from pruning.analysis import Preprocess
from pruning.data.cache import Source, read
from pruning.data.shelf import Bounds
from pruning.errors import PruningError, is_out_of_memory
from worker.endings import is_disk_full
from worker.errand import DataFile, DatasetErrand, ModelErrand
from worker.messages import Judged, Voice

log = logging.getLogger(__name__)
UNREADABLE = "it cannot be read ({}); the service's log says more: please report this file"


def inspect_model(errand: ModelErrand, voice: Voice, memory: int) -> None:
    """Ready with an analysis, or rejected with the reason."""
    from pruning.onnx.analyse import analyse  # only here: they load torch, which a data set can do without
    from pruning.onnx.upload import open_upload
    from pruning.onnx.vet import Limits

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


def limit_addresses(memory: int) -> None:
    """Bound the address space to what libraries take now and `memory` more: reservations count, as those of files do.

    For models alone: data sets are mapped from disk, and CUDA reserves more than any machine has.
    """
    most = psutil.Process(os.getpid()).memory_info().vms + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _source(data: DataFile) -> Source:
    preprocess = Preprocess.model_validate(data.preprocess)
    return Source(data.path, data.format, preprocess, Bounds(bytes=data.most_bytes))


def _judge(voice: Voice, look: Callable[[], dict[str, Any]]) -> None:
    problems: list[str] = []
    facts: dict[str, Any] = {}
    try:
        facts = look()
    except Exception as error:
        if is_out_of_memory(error) or is_disk_full(error):
            raise
        log.warning("it is rejected", exc_info=True)
        problems = [str(error) if isinstance(error, PruningError) else UNREADABLE.format(type(error).__name__)]
    voice.say(Judged(problems=problems, facts=facts))

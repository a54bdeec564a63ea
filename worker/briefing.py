"""From a row to an errand: which files a process is given, and in which bounds.

Files may come from far away: no transaction is open while they do.
"""

from dataclasses import dataclass

from pruning.recipe import bare
from store.database import reading
from store.settings import settings
from store.tables import Dataset, Job, Model
from worker import crew, supplies
from worker.errand import DataFile, DatasetErrand, JobErrand, ModelErrand
from worker.folder import Folder


class TeacherGone(Exception):
    """The model that was to teach is gone; upload it again."""


@dataclass(frozen=True)
class _Needs:
    """The rows that a job works on."""

    model: Model
    dataset: Dataset
    teacher: Model | None


def for_job(job: Job, folder: Folder) -> JobErrand:
    """Raises: TeacherGone. FileNotFoundError. OSError: the disk is full. StorageAway."""
    needs = _needs(job)
    return JobErrand(
        model=supplies.file(needs.model.sha256, folder),
        data=_data(needs.dataset, folder),
        plan=job.plan,
        teacher=supplies.file(needs.teacher.sha256, folder) if needs.teacher else None,
        memory=min(settings().max_dataset_memory, settings().job_memory_bytes // 2),
        checkpoint=supplies.checkpoint(job.checkpoint, folder) if job.checkpoint else None,
        model_name=bare(needs.model.name, "model.onnx"),
        dataset_name=bare(needs.dataset.name, "data.npz"),
        processes=crew.processes(),
    )


def for_upload(row: Model | Dataset, folder: Folder) -> ModelErrand | DatasetErrand:
    """To look at it. Raises: FileNotFoundError. OSError: the disk is full. StorageAway."""
    if isinstance(row, Model):
        return ModelErrand(model=supplies.file(row.sha256, folder), most_bytes=settings().max_model_bytes)
    return DatasetErrand(data=_data(row, folder))


def _needs(job: Job) -> _Needs:
    with reading() as session:
        model, dataset = session.get_one(Model, job.model_id), session.get_one(Dataset, job.dataset_id)
        teacher = None
        if teacher_id := job.plan.get("distill", {}).get("teacher"):
            teacher = session.get(Model, teacher_id)
            if teacher is None or teacher.owner != job.owner:
                raise TeacherGone
        return _Needs(model, dataset, teacher)


def _data(row: Dataset, folder: Folder) -> DataFile:
    cache = settings().cache_of(row.owner)
    cache.mkdir(parents=True, exist_ok=True)
    return DataFile(
        path=supplies.file(row.sha256, folder),
        format=row.format,
        preprocess=row.preprocess,
        most_bytes=settings().max_cache_bytes,
        cache=cache,
    )

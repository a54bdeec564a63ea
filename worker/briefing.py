"""From a row to an errand: which files a process is given, and in which bounds."""

from sqlalchemy.orm import Session

from pruning.recipe import bare
from store import artifacts, checkpoints
from store.settings import settings
from store.tables import Dataset, Job, Model
from worker import crew
from worker.errand import DataFile, DatasetErrand, JobErrand, ModelErrand


class TeacherGone(Exception):
    """The model that was to teach is gone; upload it again."""


def for_job(session: Session, job: Job) -> JobErrand:
    """Raises: TeacherGone."""
    model, dataset = session.get_one(Model, job.model_id), session.get_one(Dataset, job.dataset_id)
    teacher = None
    if teacher_id := job.plan.get("distill", {}).get("teacher"):
        teacher = session.get(Model, teacher_id)
        if teacher is None or teacher.owner != job.owner:
            raise TeacherGone
    return JobErrand(
        model=artifacts.path(model.sha256),
        data=_data(dataset),
        plan=job.plan,
        teacher=artifacts.path(teacher.sha256) if teacher else None,
        memory=min(settings().max_dataset_memory, settings().job_memory_bytes // 2),
        checkpoint=checkpoints.path(job.checkpoint) if job.checkpoint else None,
        model_name=bare(model.name, "model.onnx"),
        dataset_name=bare(dataset.name, "data.npz"),
        processes=crew.processes(),
    )


def for_upload(row: Model | Dataset) -> ModelErrand | DatasetErrand:
    """To look at it."""
    if isinstance(row, Model):
        return ModelErrand(model=artifacts.path(row.sha256), most_bytes=settings().max_model_bytes)
    return DatasetErrand(data=_data(row))


def _data(row: Dataset) -> DataFile:
    cache = settings().cache_of(row.owner)
    cache.mkdir(parents=True, exist_ok=True)
    return DataFile(
        path=artifacts.path(row.sha256),
        format=row.format,
        preprocess=row.preprocess,
        most_bytes=settings().max_cache_bytes,
        cache=cache,
    )

"""Python client of the Secateur pruning service: `Secateur`, and `AsyncSecateur` for those who await."""

from secateur._async.client import AsyncSecateur
from secateur._async.job import AsyncJob
from secateur._sync.client import Secateur
from secateur._sync.job import Job
from secateur.errors import BadPlan, JobEnded, Rejected, SecateurError, Unreachable
from secateur.patience import Patience
from secateur.report import Report

__all__ = [
    "AsyncJob",
    "AsyncSecateur",
    "BadPlan",
    "Job",
    "JobEnded",
    "Patience",
    "Rejected",
    "Report",
    "Secateur",
    "SecateurError",
    "Unreachable",
]

"""Python client of the Secateur pruning service."""

from secateur.client import Job, Secateur, SecateurError

__all__ = ["Job", "Secateur", "SecateurError"]

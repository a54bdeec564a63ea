"""The clock of service.py as a fixture."""

from tests.unit.client.service import slept

__all__ = ["slept"]

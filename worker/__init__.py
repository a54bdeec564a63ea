"""Celery workers: one task a kind, carrying only an id; each job runs in a process of its own."""

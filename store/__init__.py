"""The only SQL and the only paths: rows, artifacts and the queue."""

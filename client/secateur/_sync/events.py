# Generated from secateur/_async/events.py by client/generate.py: edit that one.
"""Events of a job as they happen, without gaps."""

from collections.abc import Iterator
from typing import Any

from secateur import clock
from secateur._sync.connection import Connection
from secateur.errors import SecateurError
from secateur.rows import ENDED, Event
from secateur.sse import Lines

POLL_SECONDS = 0.5
PAGE = 200


def follow(connection: Connection, job_id: str, after: int = 0) -> Iterator[Event]:
    """Events with a higher number than `after`, until the job has ended.

    A stream that breaks off is taken up again after the last event; where streams do not get through, such as behind
    a proxy, pages are asked for. Raises: SecateurError.
    """
    path = f"/v1/jobs/{job_id}"
    tries = connection.tries()
    while True:
        try:
            lines = Lines()
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
            for line in connection.stream(f"{path}/events", headers):
                if (event := lines.feed(line)) is not None and event["seq"] > after:
                    after, tries = event["seq"], connection.tries()
                    yield event
        except SecateurError as failure:
            clock.sleep(tries.pause(failure))
            continue
        # read before the last page: what comes between the two is on that page
        has_ended = (connection.json("GET", path))["status"] in ENDED
        for event in pages(connection, job_id, after):
            after = event["seq"]
            yield event
        if has_ended:
            return
        clock.sleep(POLL_SECONDS)


def pages(connection: Connection, job_id: str, after: int = 0) -> list[Event]:
    """All events there are with a higher number. Raises: SecateurError."""
    found: list[Event] = []
    cursor: int | None = after
    while cursor is not None:
        parameters: dict[str, Any] = {"after": cursor, "limit": PAGE}
        page = connection.json("GET", f"/v1/jobs/{job_id}/events", params=parameters)
        found += page["items"]
        cursor = page["next_cursor"]
    return found

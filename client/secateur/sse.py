"""Server-sent events, line by line."""

import json
from typing import cast

from secateur.rows import Event


class Lines:
    """Collects the lines of a stream into events (WHATWG HTML, 9.2.6); only `data` is needed: it has the number too."""

    def __init__(self) -> None:
        self._data: list[str] = []

    def feed(self, line: str) -> Event | None:
        """The event that this line completes, if it completes one."""
        if line.startswith("data:"):
            self._data.append(line.removeprefix("data:").removeprefix(" "))
        if line or not self._data:
            return None
        text, self._data = "\n".join(self._data), []
        return cast(Event, json.loads(text))

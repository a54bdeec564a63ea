"""How long to go on trying, and how long to pause between tries."""

import random
from dataclasses import dataclass, field

from secateur import clock
from secateur.errors import SecateurError


@dataclass(frozen=True)
class Patience:
    """Pauses double from `first` to `most` seconds, each shortened by up to a half by chance.

    seconds: in all, from the first failure on; first_answer: instead, for a service that has not answered once: its
    address is wrong more often than it is late.
    """

    seconds: float = 30
    first_answer: float = 3
    first: float = 0.5
    most: float = 8


@dataclass
class Tries:
    """The tries of one request."""

    patience: Patience
    seconds: float
    failures: int = 0
    _end: float = field(default=0.0)

    def pause(self, failure: SecateurError) -> float:
        """Seconds until the next try.

        Raises: SecateurError: the failure itself, where it does not pass by itself or patience has run out.
        """
        now = clock.now()
        if not self.failures:
            # whoever refuses is there: it is worth waiting for, also where this is its first answer
            self._end = now + (self.seconds if failure.status is None else self.patience.seconds)
        longest = min(self.patience.most, self.patience.first * 2**self.failures)
        self.failures += 1
        seconds = longest * random.uniform(0.5, 1)  # nosec B311  # so that clients do not come back all at once
        if failure.retry_after is not None:
            seconds = failure.retry_after
        if not failure.is_passing or now + seconds > self._end:
            raise failure
        return seconds

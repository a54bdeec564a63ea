"""How often somebody asks: counted on the broker, over a moving minute, so that all API processes count as one."""

import logging
import math
import time
from dataclasses import dataclass
from functools import cached_property

from limits import RateLimitItemPerMinute
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from store.settings import settings

REST_SECONDS = 5.0  # after the broker did not answer: requests are not to wait for it one by one
LOG_SECONDS = 60.0
ANSWER_SECONDS = 0.5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """Of a limit of `most` a minute; seconds: until the oldest request of the minute no longer counts."""

    is_within: bool
    most: int
    left: int
    seconds: int

    def headers(self, name: str) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers-10 has them."""
        return {
            "RateLimit-Policy": f'"{name}";q={self.most};w=60',
            "RateLimit": f'"{name}";r={self.left};t={self.seconds}',
        }


class Pace:
    """Counts on the broker of the settings, connected on first use; where it is away, nobody is held up."""

    def __init__(self) -> None:
        self._rests_until = self._logged = -math.inf

    def take(self, name: str, who: str, most: int) -> Taken | None:
        """Count a request; None: the broker is away, so nothing is known."""
        if time.monotonic() < self._rests_until:
            return None
        item = RateLimitItemPerMinute(most)
        try:
            is_within = self._limiter.hit(item, name, who)
            reset, left = self._limiter.get_window_stats(item, name, who)
        except (StorageError, ConfigurationError) as error:
            self._rest(error)
            return None
        return Taken(is_within, most, max(0, left), max(1, math.ceil(reset - time.time())))

    @cached_property
    def _limiter(self) -> MovingWindowRateLimiter:
        options = {"socket_connect_timeout": ANSWER_SECONDS, "socket_timeout": ANSWER_SECONDS}
        place = settings().broker.replace("redis+socket://", "redis+unix://", 1).replace("?virtual_host=", "?db=", 1)
        storage = storage_from_string(
            place,
            wrap_exceptions=True,
            key_prefix="secateur-pace",
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # goes through to the client
            **options,
        )
        return MovingWindowRateLimiter(storage)

    def _rest(self, error: Exception) -> None:
        now = time.monotonic()
        self._rests_until = now + REST_SECONDS
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.warning("requests are not counted, and all are let through: the broker does not answer: %s", error)


pace = Pace()

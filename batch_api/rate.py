"""How many requests a client may make: counted in Redis, so that all processes of the service count together."""

import math
import time

import redis
from limits import parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from batch_api.problems import ProblemError
from batch_api.settings import BadSettingError
from batch_api.upstream import Upstream


class RateLimit:
    """A limit such as "100 per second" for each client."""

    def __init__(self, limit: str, url: str, connection: redis.Redis, prefix: str, upstream: Upstream) -> None:
        try:
            self._limit = parse(limit)
        except ValueError:
            raise BadSettingError(f"BATCH_REQUESTS: {limit!r} is no limit; write for example '100 per second'") from None
        storage = RedisStorage(url, connection_pool=connection.connection_pool, key_prefix=f"{prefix}batch:rate")
        self._upstream = upstream
        self._counter = FixedWindowRateLimiter(storage)

    def count(self, client: str) -> None:
        """Count one more request of this client.

        Raises:
            ProblemError: that is one too many; it says when to come back.
            UnavailableError: Redis, which counts, does not answer.
        """
        with self._upstream.asked():
            if self._counter.hit(self._limit, client):
                return
            end = self._counter.get_window_stats(self._limit, client).reset_time
        seconds = max(1, math.ceil(end - time.time()))
        raise ProblemError(429, f"a client may make {self._limit} requests", {"Retry-After": str(seconds)})

"""Have Celery in this process let go of connections to a broker that is no longer there, or never was."""

import contextlib
import sys

from celery.backends.redis import RedisBackend
from kombu import pools
from redis.exceptions import RedisError


def renew() -> None:
    """Close the connections that the course's app has kept; it opens new ones, to where the environment points now.

    Needed when Celery was used before `lab.connect()`, and after the broker was restarted. Celery does the same in a
    forked child (`Celery._after_fork`), and has no public name for it.
    """
    module = sys.modules.get("tutorial_tasks.celery_app")
    if module is None:
        return
    app = module.app
    pools.reset()
    app._after_fork()
    old = app.backend
    if isinstance(old, RedisBackend):
        with contextlib.suppress(RedisError, OSError):  # the other end is gone
            old.result_consumer.stop()
            old.client.connection_pool.disconnect()
    app._backend = app._get_backend()

"""What a keeper and its clients have in common: where they meet in the result backend's Redis, and how a worker is described.

All keys begin with `CELERY_KEY_PREFIX`, then `classroom:`; none of them is a list, which would look like a queue:

classroom:keepers        set of keeper ids
classroom:keeper:ID      what the keeper says of its worker, as JSON; goes by itself soon after the keeper did
classroom:node:NAME      the keeper whose worker has this name among the workers
classroom:hosts          set of the hosts on which workers were kept
classroom:senders        set of the processes that were connected (see `presence`)
classroom:DB:verbs       channel on which the keepers are told what to do; pub/sub knows no databases, so the name says which
"""

import json
import os
from dataclasses import asdict, dataclass, field

import redis

LIFE = 15  # seconds that a keeper's keys outlive its last sign of life: longer than its worker may take to stop


@dataclass(frozen=True)
class Worker:
    """A worker as whoever owns it describes it.

    `state`, `sources`, `tasks` and `trouble` are as in `place.Stack`. `host` and `pid` say which process it is. A keeper
    adds its own `id` and the fingerprints of the task code that is on its disk now.
    """

    node: str
    host: str
    state: str = "stopped"
    pid: int | None = None
    tasks: list[str] = field(default_factory=list)
    sources: str = ""
    trouble: str = ""
    id: str = ""
    course: str = ""
    my_tasks: str = ""

    def as_json(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self))


class Meeting:
    """The Redis in which keepers and clients meet.

    Args:
        url: of the result backend.
        prefix: what stands before all keys, `CELERY_KEY_PREFIX` with its colon, or nothing.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self.redis: redis.Redis = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=5, decode_responses=True)
        self.prefix = f"{prefix}classroom:"
        database = self.redis.connection_pool.connection_kwargs.get("db", 0)
        self.channel = f"{self.prefix}{database}:verbs"

    @classmethod
    def of_the_backend(cls) -> "Meeting | None":
        """Find the meeting place from the settings; None when the results are not kept in a Redis."""
        url = os.environ.get("CELERY_RESULT_BACKEND") or os.environ.get("CELERY_BROKER_URL", "")
        if not url.startswith(("redis://", "rediss://")):
            return None
        prefix = os.environ.get("CELERY_KEY_PREFIX", "")
        return cls(url, prefix.rstrip(":") + ":" if prefix else "")

    def key(self, *parts: str) -> str:
        """Name a key."""
        return self.prefix + ":".join(parts)

    def members(self, name: str) -> set[str]:
        """Read one of the sets."""
        return {str(member) for member in self.redis.smembers(self.key(name))}

    def workers(self) -> list[Worker]:
        """Describe every worker that is kept, in the order of their names."""
        ids = sorted(self.members("keepers"))
        told = self.redis.mget([self.key("keeper", one) for one in ids]) if ids else []
        if gone := [one for one, said in zip(ids, told, strict=True) if said is None]:
            self.redis.srem(self.key("keepers"), *gone)
        # By length first: celery@lab-10 comes after celery@lab-9.
        return sorted((Worker(**json.loads(said)) for said in told if said), key=lambda worker: (len(worker.node), worker.node))

    def close(self) -> None:
        """Let go of the connections."""
        self.redis.close()

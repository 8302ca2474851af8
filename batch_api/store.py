"""What the service keeps in Redis, beside Celery's results.

    batch:pair:<a>:<b>   the claim: the id of the task that adds this pair. Whoever sets it first decides the id, before anything is sent.
    batch:task:<id>      the record: the pair, and how often it was sent. An id without one was never given out.
    batch:failed:<id>    how it failed, once that was told: a copy of the task may store something else later, for Celery keeps only a sum.
    batch:sent:<id>      the lease on sending: as long as it is there nobody else sends this task.
    batch:run:<id>       the lock of a run, which the task takes (`tutorial_tasks.batches`): as long as it is there no other run begins.
    batch:group:<id>     the ids of a batch's tasks, written when all of them have been sent.

Each has the prefix of the application in front (`CELERY_KEY_PREFIX`). A claim outlives neither its result nor the record.
A lease is short while its holder sends, and long after that: a holder that dies in between leaves a claim whose lease
ends soon, and a message that is lost one whose lease ends later. Whoever asks then takes the lease and sends again, under
the same id. That may send a task twice, which `tutorial_tasks.batches` bears; it never lets one be forgotten.

The scripts name keys of several tasks, so this is for one Redis (or one with replicas), not for a cluster.

Ids live as long as their keys have more than `remembered` seconds left: after that they are expired, and still known.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import astuple, dataclass
from typing import Any, cast

import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from batch_api.outcomes import Outcome, Pair, outcome
from batch_api.problems import UnavailableError
from batch_api.settings import BadSettingError, Lives
from batch_api.upstream import Upstream

SENDING = 5  # seconds that a lease lasts while its holder sends; a holder that needs longer renews it

# Of each pair: who holds it, after this. A holder that is known to have failed is replaced, if it still is the holder.
_CLAIM = """
local held = {}
for i = 0, #KEYS / 2 - 1 do
    local claim, record = KEYS[2 * i + 1], KEYS[2 * i + 2]
    local mine, failed, pair = ARGV[3 * i + 3], ARGV[3 * i + 4], ARGV[3 * i + 5]
    local holder = redis.call('GET', claim)
    if not holder or holder == failed then
        redis.call('SET', claim, mine, 'EX', ARGV[1])
        redis.call('HSET', record, 'pair', pair, 'sends', 0)
        redis.call('EXPIRE', record, ARGV[2])
        holder = mine
    end
    held[i + 1] = holder
end
return held
"""

# Each time a task is sent its lease is twice as long: a queue that is merely long is not filled with copies.
_SENT = """
for i = 1, #KEYS, 2 do
    if redis.call('EXISTS', KEYS[i]) == 1 then
        local sends = redis.call('HINCRBY', KEYS[i], 'sends', 1)
        redis.call('SET', KEYS[i + 1], 'sent', 'EX', ARGV[1] * 2 ^ math.min(sends - 1, 20))
    end
end
"""


class Unknown(Exception):
    """An id was never given out."""


class Expired(Exception):
    """An id was given out too long ago."""


@dataclass(frozen=True)
class Task:
    """A task as it is now: its pair, its outcome, and whether somebody has sent it lately."""

    id: str
    pair: Pair
    outcome: Outcome
    is_leased: bool


def client(url: str, patience: float) -> redis.Redis:
    """Open Redis so that a server that is gone is noticed within so many seconds, and one that was restarted is found again."""
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise BadSettingError(f"the result backend has to be a Redis, not {url.partition('://')[0]}")
    again = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return redis.Redis.from_url(url, socket_connect_timeout=patience, socket_timeout=patience, retry=again, decode_responses=True)


def backend() -> Upstream:
    """Make what is to be remembered of Redis; whoever asks it shares one of these."""
    return Upstream("result backend", (redis.RedisError,))


class Store:
    """Claims, records, leases and batches, and a look at Celery's results."""

    def __init__(self, app: Celery, connection: redis.Redis, lives: Lives, lost_after: int, remembered: int, upstream: Upstream) -> None:
        self._reached: Callable[[], AbstractContextManager[None]] = upstream.asked
        self._backend = app.backend
        self._redis = connection
        self._lives = lives
        self._lost_after = lost_after
        self._remembered = remembered
        self._prefix = (app.conf.result_backend_transport_options or {}).get("global_keyprefix", "") + "batch:"
        self._claim = connection.register_script(_CLAIM)
        self._sent = connection.register_script(_SENT)

    def ping(self) -> None:
        """Ask whether Redis answers."""
        with self._reached():
            self._redis.ping()

    def holders(self, pairs: Sequence[Pair]) -> dict[Pair, str]:
        """Return the pairs that are claimed, each with the id of its task."""
        with self._reached():
            found = cast(list[str | None], self._redis.mget([self._pair(pair) for pair in pairs]))
        return {pair: id_ for pair, id_ in zip(pairs, found, strict=True) if id_}

    def outcomes(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """Return what Celery has stored for these tasks; one that was told to have failed stays so."""
        if not ids:
            return {}
        with self._reached():
            found = cast(list[str | None], self._redis.mget([*map(self._result, ids), *map(self._failed, ids)]))
        stored, told = found[: len(ids)], found[len(ids) :]
        outcomes = {
            id_: Outcome(*json.loads(failed)) if failed else outcome(self._backend.decode(result) if result else None)
            for id_, result, failed in zip(ids, stored, told, strict=True)
        }
        if new := [id_ for id_, failed in zip(ids, told, strict=True) if not failed and outcomes[id_].has_failed]:
            with self._reached(), self._redis.pipeline(transaction=False) as pipe:
                for id_ in new:
                    pipe.set(self._failed(id_), json.dumps(astuple(outcomes[id_])), nx=True, ex=self._lives.task + self._remembered)
                pipe.execute()
        return outcomes

    def claim(self, mine: dict[Pair, str], failed: dict[Pair, str]) -> dict[Pair, str]:
        """Claim each pair under my id for it, and return who holds it now: me, or who was there first.

        Args:
            mine: an id for each pair.
            failed: the holders that are known to have failed, so that I may take their place.
        """
        keys: list[str] = []
        arguments: list[str | int] = [self._lives.claim, self._lives.task + self._remembered]
        for pair, id_ in mine.items():
            keys += self._pair(pair), self._record(id_)
            arguments += id_, failed.get(pair, ""), json.dumps(pair)
        with self._reached():
            held = cast(list[str], self._claim(keys, arguments))
        return dict(zip(mine, held, strict=True))

    def lease(self, ids: Sequence[str]) -> list[str]:
        """Take the right to send these tasks, and return those for which it was free."""
        if not ids:
            return []
        with self._reached(), self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.set(self._lease(id_), "sending", nx=True, ex=SENDING)
            return [id_ for id_, taken in zip(ids, pipe.execute(), strict=True) if taken]

    def renew(self, ids: Sequence[str]) -> None:
        """Keep the leases on these tasks while others are sent."""
        with self._reached(), self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.expire(self._lease(id_), SENDING)
            pipe.execute()

    def note_sent(self, ids: Sequence[str]) -> None:
        """Make the leases on these tasks long: their messages are with the broker."""
        keys = [key for id_ in ids for key in (self._record(id_), self._lease(id_))]
        if keys:
            with self._reached():
                self._sent(keys, [self._lost_after])

    def give_back(self, ids: Sequence[str]) -> None:
        """Let somebody else send these tasks, if Redis is there to be told; otherwise the leases end by themselves."""
        with suppress(UnavailableError), self._reached():
            self._redis.delete(*map(self._lease, ids))

    def write_group(self, id_: str, tasks: dict[str, Pair], order: Sequence[str]) -> None:
        """Write a batch down: its tasks with their pairs, and the order in which the request had them."""
        text = json.dumps({"tasks": tasks, "order": order})
        with self._reached():
            self._redis.set(self._group(id_), text, ex=self._lives.batch + self._remembered)

    def group(self, id_: str) -> list[Task]:
        """Return the tasks of a batch as they are now, one for each pair of the request.

        Raises:
            Unknown: there is no such batch.
            Expired: there was one.
        """
        with self._reached(), self._redis.pipeline(transaction=False) as pipe:
            pipe.get(self._group(id_))
            pipe.pttl(self._group(id_))
            text, left = pipe.execute()
        self._check(text, left)
        kept: dict[str, Any] = json.loads(text)
        ids = list(kept["tasks"])
        with self._reached():
            leases = cast(list[str | None], self._redis.mget([self._lease(task) for task in ids]))
        outcomes = self.outcomes(ids)  # after the leases: what ends in between is not sent again
        tasks = {
            task: Task(task, tuple(kept["tasks"][task]), outcomes[task], lease is not None) for task, lease in zip(ids, leases, strict=True)
        }
        return [tasks[task] for task in kept["order"]]

    def task(self, id_: str) -> Task:
        """Return a task as it is now.

        Raises:
            Unknown: there is no such task.
            Expired: there was one.
        """
        with self._reached(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(self._record(id_), "pair")
            pipe.pttl(self._record(id_))
            pipe.get(self._lease(id_))
            pair, left, lease = pipe.execute()
        self._check(pair, left)
        a, b = json.loads(pair)
        return Task(id_, (a, b), self.outcomes([id_])[id_], lease is not None)

    def _check(self, found: str | None, left: int) -> None:
        if found is None:
            raise Unknown
        if left <= self._remembered * 1000:
            raise Expired

    def _pair(self, pair: Pair) -> str:
        return f"{self._prefix}pair:{pair[0]}:{pair[1]}"

    def _record(self, id_: str) -> str:
        return f"{self._prefix}task:{id_}"

    def _lease(self, id_: str) -> str:
        return f"{self._prefix}sent:{id_}"

    def _failed(self, id_: str) -> str:
        return f"{self._prefix}failed:{id_}"

    def _group(self, id_: str) -> str:
        return f"{self._prefix}group:{id_}"

    def _result(self, id_: str) -> str:
        key = self._backend.get_key_for_task(id_)
        return key.decode() if isinstance(key, bytes) else str(key)

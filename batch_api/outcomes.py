"""What stored results mean: pure functions from what Celery has on record to what the service says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import states

Pair = tuple[int, int]


@dataclass(frozen=True)
class Outcome:
    """What is known of a task: its state, and the sum or the type of the error once it is done."""

    state: str = states.PENDING
    value: int | None = None
    error: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the task is at its end."""
        return self.state in states.READY_STATES

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a sum: it failed, or was revoked."""
        return self.state in states.PROPAGATE_STATES


@dataclass(frozen=True)
class Totals:
    """What is known of a batch."""

    processed: bool
    succeeded: bool
    completed: int
    total: int


def outcome(meta: Mapping[str, Any] | None) -> Outcome:
    """Read what Celery has stored for a task; nothing stored means that no worker has begun."""
    if not meta:
        return Outcome()
    state, result = meta["status"], meta.get("result")
    if state == states.SUCCESS:
        return Outcome(state, value=result)
    if state in states.PROPAGATE_STATES:
        return Outcome(state, error=result.get("exc_type", "Exception") if isinstance(result, Mapping) else "Exception")
    return Outcome(state)


def totals(outcomes: Sequence[Outcome]) -> Totals:
    """Count the outcomes of a batch, one for each of its pairs."""
    completed = sum(one.is_done for one in outcomes)
    return Totals(completed == len(outcomes), not any(one.has_failed for one in outcomes), completed, len(outcomes))


def cache_status(hits: int, joined: int, sent: int) -> str:
    """Word what a batch found in the cache, as the value of a `Cache-Status` header (RFC 9211).

    Args:
        hits: distinct pairs whose sum was there.
        joined: distinct pairs that another request has had sent, and that are not done.
        sent: distinct pairs that this request had to send.
    """
    if not joined and not sent:
        return "batch-api; hit"
    forwarded = "partial" if hits or (joined and sent) else "miss"
    collapsed = "" if sent else "; collapsed"
    return f'batch-api; fwd={forwarded}{collapsed}; detail="hit {hits}, joined {joined}, sent {sent}"'

"""The gate of a chord: how many of its header have been counted, by the numbers that the result backend itself goes by."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from celery import Celery
from celery.states import PROPAGATE_STATES

from taskscope.errors import ScopeError
from taskscope.keyspace import Key, backend_of, photograph

MANY = 1000  # results of a header that are looked through for a failure

State = Literal["counting", "opening", "open", "failed", "absent"]

MEANINGS = {
    "": "the ids of the group's members",
    "s": "how many the gate waits for",
    "j": "the results that were counted",
    "d": "who was counted, so that nobody is twice",
    "t": "how many were added by replace()",
    "c": "who publishes the body, then that it was done",
}
"""What each of a group's keys is for, by its suffix: .c and .d came with Celery 5.7."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one chord: `counted` of `size` are through; None where the backend does not say (any more).

    It is `counting`, then `opening` while one worker publishes the body, then `open`, and after a while `absent`, as it was
    before: the keys are gone. `failed` means that somebody in the header failed, and the body will not come.
    """

    counted: int | None
    size: int | None
    state: State


def gate(app: Celery, group_id: str) -> Gate:
    """Read the gate of the chord whose header has this group id.

    Raises:
        ScopeError: the result backend is not Redis, or does not answer.
    """
    place = backend_of(app)
    if place is None:
        raise ScopeError(
            f"the result backend is {type(app.backend).__name__}: only Redis keeps a counter for a chord", "use a Redis result backend"
        )
    stem = app.backend.get_key_for_group(group_id)
    # By name: to look for them would be to go through the whole database, which may hold a million results.
    names = {suffix: stem + f".{suffix}".rstrip(".").encode() for suffix in MEANINGS}
    with place.open() as client:
        found = photograph(client, names.values(), MANY)
    return judge({suffix: found[name] for suffix, name in names.items() if name in found})


def judge(keys: Mapping[str, Key]) -> Gate:
    """Tell a gate from the keys of its group, by suffix."""
    size, claim = _number(keys.get("s")), keys.get("c")
    counted = keys["j"].size if "j" in keys else None
    is_done = claim is not None and claim.value == b"done"
    if size is not None:
        return Gate(counted or 0, size + (_number(keys.get("t")) or 0), "opening" if claim and not is_done else "counting")
    if is_done:
        return Gate(counted, None, "open")
    if counted is None:
        return Gate(None, None, "absent")
    # Early in a wide header the size is not there yet; after a failure it is not there any more.
    return Gate(counted, None, "failed" if any(_has_failed(member) for member in keys["j"].value) else "counting")


def _has_failed(member: Any) -> bool:
    text = member[0] if isinstance(member, tuple) else member  # in order of arrival it is a list, else a sorted set
    try:
        return bool(json.loads(text)[2] in PROPAGATE_STATES)
    except (ValueError, LookupError, TypeError):
        return False


def _number(key: Any) -> int | None:
    try:
        return int(key.value) if key else None
    except ValueError:
        return None

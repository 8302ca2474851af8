"""Make small, plain JSON of whatever a witness says."""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from celery.utils.saferepr import saferepr

LIMIT = 300  # characters of one text


def cut(text: str, limit: int = LIMIT) -> str:
    """Cut a long text, and show that it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def tail(text: str, limit: int = LIMIT) -> str:
    """Keep the end of a long text: of a traceback, that is where the error stands."""
    return text if len(text) <= limit else "…" + text[1 - limit :]


def shown(value: Any) -> str:
    """Return the short repr of a value, as Celery's events have it."""
    if _is_simple(value) or (type(value) in (list, tuple, dict) and len(value) < 10 and all(map(_is_simple, _members(value)))):
        return cut(repr(value))  # the same, and many times faster
    try:
        return cut(saferepr(value, maxlen=LIMIT))
    except Exception:  # a repr of somebody else's
        return f"<{type(value).__name__}>"


def plain(value: Any) -> Any:
    """Turn a value into something that JSON can hold, and that is small."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, int) and abs(value) < 1 << 63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, (list, tuple, dict)):
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return shown(value)
        return json.loads(text) if len(text) <= LIMIT else shown(value)
    return shown(value)


def data(fields: Mapping[Any, Any], without: Iterable[str] = ()) -> dict[str, Any]:
    """Return the fields that say something, as plain JSON; their names are kept once for all observations."""
    left_out = frozenset(without)
    return {
        sys.intern(str(name)): plain(value) for name, value in fields.items() if value is not None and value != "" and name not in left_out
    }


def kept_once(text: Any) -> str | None:
    """Return a text that many observations share, so that it is in memory once; None for what is no text."""
    return sys.intern(cut(str(text))) if isinstance(text, str) and text else None


def seconds(value: Any) -> float | None:
    """Return a point in time as seconds, or None for what is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def count(value: Any) -> int | None:
    """Return a number of retries, or None for what is not one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _members(value: Any) -> Iterable[Any]:
    return chain(value, value.values()) if isinstance(value, dict) else value


def _is_simple(value: Any) -> bool:
    """Tell whether the repr of a value is known to be short, and to be Python's own."""
    if type(value) is int:
        return -1 << 63 < value < 1 << 63
    return value is None or type(value) in (bool, float) or (type(value) is str and len(value) <= LIMIT)

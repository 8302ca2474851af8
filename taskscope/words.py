"""A task in words: without ids and times, so that the same run reads the same tomorrow."""

import ast
import re
from itertools import groupby

from taskscope.model import Task

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def label(task: Task) -> str:
    """Return the call as one would write it, such as `add(2, 3)`; what is not known is `…`."""
    if not task.name:
        return "a task" if task.args or was_sent(task) else "an unknown id"
    arguments = [part for part in (_positional(task.args), *_keywords(task.kwargs)) if part]
    if not task.args and not task.kwargs:
        arguments = ["…"]
    return f"{plain(task.name.rsplit('.', 1)[-1])}({', '.join(arguments)})"


def plain(text: str) -> str:
    r"""Show control characters and line breaks as escapes: `\n`, `\x1b`."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def was_sent(task: Task) -> bool:
    """Tell whether a witness has said that there was a message: a result can be on record for an id that nobody ever sent."""
    return any(mark.state == "PENDING" for lane in task.lanes for mark in lane.marks)


def sentence(task: Task) -> str:
    """Return what happened to the task as one line, such as `add(2, 3): PENDING → RECEIVED → STARTED → SUCCESS = 5`.

    An inferred step stands in brackets; a custom state that was told several times in a row stands once, with the number.
    """
    steps: list[str] = []
    for i, lane in enumerate(task.lanes):
        # The message of a retry is out before the attempt has ended: PENDING is told where nobody has taken it yet.
        marks = [mark for mark in lane.marks if mark.state != "PENDING" or i == 0 or len(lane.marks) == 1]
        for (state, evidence), same in groupby(marks, key=lambda mark: (plain(mark.state), mark.evidence)):
            word = f"({state})" if evidence == "inferred" else state
            steps.append(word if (count := len(list(same))) == 1 else f"{word} ×{count}")
    if not steps:
        return f"{label(task)}: no witness has said anything"
    only = "" if task.name or was_sent(task) else " (on record, and nobody has heard that it was sent)"
    return f"{label(task)}: {' → '.join(steps)}{_outcome(task)}{only}"


def _outcome(task: Task) -> str:
    if task.state == "SUCCESS":
        return f" = {_cut(task.result)}" if task.result else ""
    if task.state == "FAILURE":
        return f": {_cut(task.result, 60)}" if task.result else ""
    if task.state == "REVOKED" and task.lanes:
        return f": {task.lanes[-1].marks[-1].note}"  # why, in the same word by whoever told it first
    return ""


def _positional(text: str) -> str:
    inner = text.strip()
    if (inner[:1], inner[-1:]) in (("(", ")"), ("[", "]")):
        inner = inner[1:-1].strip().removesuffix(",")
    return _cut(inner)


def _keywords(text: str) -> list[str]:
    if not text.strip() or text.strip() == "{}":
        return []
    try:
        pairs = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # Celery cuts long ones, and not every repr is a literal
        return [_cut(f"**{text}")]
    if not isinstance(pairs, dict):
        return [_cut(f"**{text}")]
    return [f"{name}={_cut(repr(value))}" for name, value in pairs.items()]


def _cut(text: str, limit: int = 40) -> str:
    """Leave out what is long, ids, which are others in each run, and what a terminal would obey."""
    text = plain(_ID.sub("…", text))
    return text if len(text) <= limit else text[: limit - 1] + "…"

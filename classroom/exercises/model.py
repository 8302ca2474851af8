"""What an exercise is, and how an answer is judged: by what it made happen, never by a return value alone."""

import inspect
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery.exceptions import TimeoutError as CeleryTimeoutError

from classroom import progress
from classroom.errors import ClassroomError
from classroom.stack import client
from classroom.time_limit import OutOfTime, time_limit

Answer = Callable[..., Any]
Judge = Callable[[Answer], str]

_TIME_LIMIT = 10.0  # seconds for a learner's function: nothing may hang

_exercises: dict[str, Judge] = {}


class NotYet(Exception):
    """What was observed is not what the exercise asks for; the message says what was seen, and a way on."""


class _Raised(Exception):
    """The learner's own code raised; the cause is what it raised."""


@dataclass(frozen=True)
class Outcome:
    """One of four verdicts, with the reason in words."""

    verdict: str
    words: str

    def __repr__(self) -> str:
        return f"{self.verdict}: {self.words}"


PASSED, NOT_ATTEMPTED, NOT_YET, RAISED = "✔ passed", "○ not attempted", "✖ not yet", "! your code raised"


def exercise(name: str) -> Callable[[Judge], Judge]:
    """Make a judge known as the one of this exercise, such as "00.1".

    A judge gets the learner's function, calls it through `run`, and returns what it saw when all is as it should be.
    It raises `NotYet` otherwise.
    """

    def register(judge: Judge) -> Judge:
        _exercises[name] = judge
        return judge

    return register


def names() -> list[str]:
    """Return the names of all exercises, in order."""
    return sorted(_exercises)


def check(name: str, answer: Answer) -> Outcome:
    """Judge a learner's function, and remember it when it passes.

    Args:
        name: the exercise, such as "00.1".
        answer: the function itself, not what it returns.

    Raises:
        ClassroomError: there is no such exercise, or the stack does not run.
    """
    if name not in _exercises:
        raise ClassroomError(f"there is no exercise {name!r}", f"one of: {', '.join(names())}")
    if not isinstance(answer, types.FunctionType):
        return Outcome(NOT_YET, f'hand over the function itself: check("{name}", its_name), without brackets after the name')
    if _is_untouched(answer):
        return Outcome(NOT_ATTEMPTED, f"write your code in {answer.__name__}, then run this cell again")
    print(f"Checking {name}: {answer.__name__} is called, and what happens is watched. That can take some seconds.", flush=True)
    try:
        outcome = Outcome(PASSED, _exercises[name](answer))
    except NotYet as reason:
        return Outcome(NOT_YET, str(reason))
    except _Raised as raised:
        return Outcome(RAISED, _describe(raised.__cause__, answer))
    progress.record(name)
    return outcome


def run(answer: Answer, *args: Any) -> Any:
    """Call a learner's function, within a time limit.

    Raises:
        NotYet: it was still busy when the time was up, or waited in vain for a result.
        _Raised: it raised; `check` makes a verdict of that.
    """
    try:
        with time_limit(_TIME_LIMIT):
            return answer(*args)
    except OutOfTime as late:
        busy = f"{answer.__name__} was still busy after {_TIME_LIMIT:g} seconds{_where(late, answer)}"
        raise NotYet(f"{busy}; does it wait for something that never comes?") from None
    except CeleryTimeoutError:
        stack = client.current()
        why = "is waiting a part of what is asked?" if not stack or stack.worker == "running" else "no worker runs, so nobody does it"
        raise NotYet(f"{answer.__name__} waited for a result that did not come in time: {why}") from None
    except Exception as error:
        raise _Raised from error


def _stub() -> None: ...


def _stub_with_words() -> None:
    """A stub with a docstring has other constants, so its bytecode can differ."""


def _is_untouched(answer: types.FunctionType) -> bool:
    code = answer.__code__
    if code.co_names or set(code.co_consts) - {None, answer.__doc__}:
        return False
    return code.co_code in (_stub.__code__.co_code, _stub_with_words.__code__.co_code)


# What Celery says of some slips that are easily made, and what it was.
_SLIPS = {
    "task_id must not be empty": "the task was called right here, as a function: send it, with delay",
    "object has no attribute 'clone'": "a canvas is made of signatures: task.s(), not the task itself",
}


def _describe(error: BaseException | None, answer: types.FunctionType) -> str:
    slip = next((f". Perhaps {what}" for words, what in _SLIPS.items() if words in str(error)), "")
    return f"{type(error).__name__}: {error}{_where(error, answer)}{slip}"


def _where(error: BaseException | None, answer: Answer) -> str:
    """Say in which line of the learner's own function it was, if it came as far as that."""
    code = inspect.unwrap(answer).__code__
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__ if error else None) if frame.f_code is code]
    return f", in line {lines[-1] - code.co_firstlineno + 1} of {answer.__name__}" if lines else ""

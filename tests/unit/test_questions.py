"""A question to a worker, and answers that come late."""

import time
from types import SimpleNamespace
from typing import Any

from classroom import questions


class Mailbox:
    """Reads as kombu does: so many answers as the limit says, whichever question they belong to; only those to this one are given."""

    def __init__(self, late: int, answers: int = 1) -> None:
        self.waiting = [0] * late  # of each answer: the number of its question
        self.answers = answers
        self.asked = 0
        self.control = SimpleNamespace(broadcast=self.broadcast)

    def broadcast(self, command: str, limit: int, timeout: float, **_: Any) -> list[dict[str, str]]:
        self.asked += 1
        self.waiting += [self.asked] * self.answers
        read, self.waiting = self.waiting[:limit], self.waiting[limit:]
        if len(read) < limit:
            time.sleep(timeout)
        return [{"celery@lab": command} for question in read if question == self.asked]


def test_an_answer_ends_the_question() -> None:
    mailbox: Any = Mailbox(late=0)
    assert questions.ask(mailbox, "ping", 10) == [{"celery@lab": "ping"}]
    assert mailbox.asked == 1


def test_late_answers_to_an_earlier_question_do_not_stand_for_silence() -> None:
    mailbox: Any = Mailbox(late=3, answers=2)
    begun = time.monotonic()
    assert questions.ask(mailbox, "ping", 10, 2) == [{"celery@lab": "ping"}] * 2
    assert time.monotonic() - begun < 5, "nothing was waited for that does not come"


def test_silence_ends_when_the_time_is_up() -> None:
    mailbox: Any = Mailbox(late=0, answers=0)
    assert questions.ask(mailbox, "ping", 0.1) == []
    assert mailbox.asked == 1

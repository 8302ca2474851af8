"""A connection to RabbitMQ that gives up: by itself the library waits without a limit for nearly every answer."""

from typing import Any

from kombu.transport import pyamqp


class TooLongError(Exception):
    """RabbitMQ did not answer in time. No error of the library's own: those are tried once more, which takes as long again."""


class _Connection(pyamqp.Connection):
    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read what comes next; every wait for a confirmation, a queue, a channel or a goodbye ends here, as one to connect does."""
        try:
            return super().blocking_read(self.connect_timeout if timeout is None else timeout)
        except TimeoutError as error:
            if timeout is not None:
                raise
            self.collect()  # an answer that comes late would be taken for the one to the next question
            raise TooLongError from error


class Transport(pyamqp.Transport):
    """Kombu's transport for `amqp://`, over such connections."""

    Connection = _Connection

"""Send tasks without ever waiting long for a broker that is not there."""

from collections.abc import Iterator

from celery import Celery
from kombu.exceptions import LimitExceeded, OperationalError

from batch_api import rabbit
from batch_api.outcomes import Pair
from batch_api.upstream import Upstream
from tutorial_tasks.batches import add_pair

_SHARE = 0.6  # of the patience, for a broker that does not answer: it is tried twice
# A connection that broke since it was last used deserves a second try; a broker that is gone gets no more than that.
_ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class Sender:
    """Sends the pairs as tasks.

    It has an application of its own, with the settings of the tasks and without a result backend: an application that
    has one subscribes to each result before it sends, and keeps trying for many seconds when the backend is gone.
    """

    def __init__(self, seconds: tuple[float, float], patience: float) -> None:
        self._seconds = seconds
        self._name = add_pair.name  # here, not in a request: Celery makes a task at its first use, and two threads may not do so at once
        wait = _SHARE * patience
        self._app = Celery("batch_api", set_as_current=False)
        self._app.backend_cls = "disabled://"  # the setting would not do: the variable CELERY_RESULT_BACKEND goes before it
        self._app.config_from_object("tutorial_tasks.settings")
        options = dict(self._app.conf.broker_transport_options or {})
        self._app.conf.update(
            imports=(),
            broker_connection_timeout=wait,
            broker_pool_acquire_timeout=wait,
            broker_transport_options=options | _ONCE_MORE | {"socket_connect_timeout": wait, "socket_timeout": wait},
        )

        broker = self._app.connection_for_write()  # not opened: it only knows what can go wrong with this kind
        if broker.transport_cls in ("amqp", "pyamqp"):  # the two timeouts above are Redis's
            self._app.conf.broker_transport = f"{rabbit.__name__}:{rabbit.Transport.__name__}"
        kinds = (OperationalError, LimitExceeded, OSError, rabbit.TooLongError, *broker.connection_errors, *broker.channel_errors)
        self._broker = Upstream("broker", kinds)

    def send(self, tasks: dict[str, Pair]) -> Iterator[str]:
        """Send each of these tasks under its id, and yield the id as soon as it is sent.

        Raises:
            UnavailableError: the broker did not take the others.
        """
        with self._broker.asked(), self._app.producer_or_acquire() as producer:
            for id_, (a, b) in tasks.items():
                self._app.send_task(
                    self._name,
                    (a, b),
                    {"seconds": self._seconds},
                    task_id=id_,
                    producer=producer,
                    ignore_result=False,  # the worker would take an application without a backend at its word
                    retry=True,
                    retry_policy=_ONCE_MORE,
                )
                yield id_

    def ping(self) -> None:
        """Ask whether the broker answers."""
        with self._broker.asked(), self._app.connection_for_write() as connection:
            connection.ensure_connection(**_ONCE_MORE)

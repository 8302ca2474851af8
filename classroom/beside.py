"""A RabbitMQ beside the stack's Redis, with a worker of its own, for those who want to compare the two."""

from celery import Celery

from classroom import evidence, rabbit_evidence
from classroom.errors import ClassroomError
from classroom.stack import client
from classroom.stack.place import Stack
from classroom.stack.worker_process import CONCURRENCY, RABBITMQ_NODE


class RabbitMQ:
    """The RabbitMQ of this checkout's stack: `url` is its address, `worker` its worker."""

    def __init__(self, stack: Stack) -> None:
        self.url = stack.amqp
        self.worker = Worker()


class Worker:
    """The worker that reads from RabbitMQ."""

    def start(self) -> None:
        """Start it; return when it is ready."""
        client.ask("start rabbitmq worker")

    def stop(self) -> None:
        """Stop it; it finishes what it runs and gives back the rest. Return when it is gone."""
        client.ask("stop rabbitmq worker")
        evidence.give_back(plain_app())

    def kill(self) -> None:
        """Kill it with SIGKILL; it stays dead until `start()`. Return when RabbitMQ has noticed."""
        client.ask("kill rabbitmq worker")
        evidence.give_back(plain_app())


def rabbitmq() -> RabbitMQ:
    """Start a RabbitMQ and a worker on it beside the stack, and print one line about it; what an earlier run left there is thrown away.

    Both end with the stack.

    Raises:
        ClassroomError: RabbitMQ is not installed or does not start, or there is no Redis to stand beside.
    """
    stack = start(afresh=True)
    print(f"Connected: {stack.rabbitmq} on {stack.amqp.partition('@')[2].rstrip('/')} · worker {RABBITMQ_NODE}, {CONCURRENCY} processes")
    return RabbitMQ(stack)


def start(afresh: bool = False) -> Stack:
    """Have RabbitMQ and its worker run, and describe the stack; `afresh` throws away what is in the queues and in the worker.

    Raises:
        ClassroomError: RabbitMQ is not installed or does not start, or there is no Redis to stand beside.
    """
    stack = None if client.is_outside() else client.current()
    if not stack or stack.broker != "redis":
        raise ClassroomError(
            "RabbitMQ is started beside a stack of ours whose broker is Redis, and there is none",
            "python -m classroom down, then make lab without CLASSROOM_BROKER and CELERY_BROKER_URL",
        )
    if not stack.amqp:
        print("RabbitMQ starts. That takes some seconds.")
    stack = client.ask("start rabbitmq", timeout=90)
    if afresh:
        _clear()
    return stack


def plain_app() -> Celery:
    """Make an application that knows where our RabbitMQ is, and nothing else.

    Raises:
        ClassroomError: it does not run.
    """
    stack = client.current()
    if not stack or not stack.amqp:
        raise ClassroomError("no RabbitMQ runs beside this stack", "lab.rabbitmq()")
    app = Celery("beside", backend=stack.url, set_as_current=False)
    # Not `broker_url`: the variable CELERY_BROKER_URL, which names the other broker, would win.
    app.conf.update(broker_read_url=stack.amqp, broker_write_url=stack.amqp, broker_transport_options={"confirm_publish": True})
    return app


def _clear() -> None:
    app = plain_app()
    if rabbit_evidence.unacknowledged(app):
        Worker().kill()
    with app.connection_for_write() as connection:
        for queue in rabbit_evidence.queues(app):
            channel = connection.channel()
            channel.queue_purge(queue)
            channel.close()
    Worker().start()

"""Whether there is a RabbitMQ to test with: without one these tests skip on a laptop, and fail where `CI=true`."""

import os

import pytest

from classroom.errors import ClassroomError
from classroom.stack.rabbitmq import find_rabbitmq


def is_missing() -> bool:
    try:
        find_rabbitmq()
    except ClassroomError:
        return True
    return False


needs_rabbitmq = pytest.mark.skipif(
    is_missing() and os.environ.get("CI") != "true", reason="rabbitmq-server is not installed: apt-get install rabbitmq-server"
)

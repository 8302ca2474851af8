"""The same with RabbitMQ as the broker and Redis for the results."""

from collections.abc import Iterator

import pytest

from tests.docker.containers import Classroom, classroom
from tests.notebooks.lessons import LESSONS

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Classroom]:
    with classroom(tmp_path_factory.mktemp("rabbitmq"), "rabbitmq") as one:
        yield one


def test_the_lessons_from_the_host(course: Classroom) -> None:
    assert course.addresses["CELERY_BROKER_URL"].startswith("amqp://")
    done = course.lessons(*(lesson.number for lesson in LESSONS if lesson.number < "10"))
    assert done.returncode == 0, done.stdout[-5000:]


def test_nothing_is_left(course: Classroom) -> None:
    course.down()
    assert course.left() == []

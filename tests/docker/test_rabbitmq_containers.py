"""The same with RabbitMQ as the broker and Redis for the results."""

from collections.abc import Iterator

import pytest

from tests.docker.containers import FIRST, Classroom, classroom, docker, half_way
from tests.notebooks.lessons import LESSONS
from tests.notebooks.test_disorder import run_whole
from tests.stack.processes import CONNECT, eventually

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Classroom]:
    with classroom(tmp_path_factory.mktemp("rabbitmq"), "rabbitmq") as one:
        yield one


def test_the_lessons_from_the_host(course: Classroom) -> None:
    assert course.addresses["CELERY_BROKER_URL"].startswith("amqp://")
    done = course.lessons(*(lesson.number for lesson in LESSONS if lesson.number < "10"))
    assert done.returncode == 0, done.stdout[-5000:]


def test_the_x_ray_on_the_host_asks_the_rabbitmq_of_the_containers(course: Classroom) -> None:
    source = (
        CONNECT
        + """
from taskscope.xray import xray
from tutorial_tasks.celery_app import app
found = xray(app)
print({"celery", "slow"} <= {queue.name for queue in found.queues}, found.notes)
"""
    )
    done = course.python(source)
    assert "True ('RabbitMQ shows numbers, " in done.stdout, done.stdout + done.stderr


def test_rabbitmq_is_restarted_in_the_middle_of_a_lesson(course: Classroom) -> None:
    with course.kernel() as notebook:
        half_way(notebook)
        docker("restart", course.containers("rabbitmq")[0]["Id"])
        eventually(lambda: notebook.say(CONNECT).startswith("Connected: "), "the worker is there again")
        run_whole(notebook, FIRST)


def test_docker_up_keeps_rabbitmq_until_it_is_switched_off(course: Classroom) -> None:
    course.broker = ""  # as somebody types it whom a message told to
    course.up()
    assert course.addresses["CELERY_BROKER_URL"].startswith("amqp://")
    assert course.python(CONNECT).returncode == 0
    course.broker = "redis"
    said = course.up()
    assert "export CELERY_BROKER_URL=redis://" in said
    assert course.containers("rabbitmq") == []
    assert course.python(CONNECT).returncode == 0


def test_nothing_is_left(course: Classroom) -> None:
    course.down()
    assert course.left() == []

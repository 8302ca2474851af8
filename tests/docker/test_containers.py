"""The whole classroom in containers, with Redis: the lessons pass unchanged, accidents are survived, and nothing stays behind."""

import base64
import json
import re
import stat
import time
import urllib.request as web
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.docker.containers import FIRST, Classroom, classroom, docker, half_way
from tests.notebooks.lessons import LESSONS
from tests.notebooks.test_disorder import run_whole
from tests.stack.processes import CONNECT, eventually

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Classroom]:
    with classroom(tmp_path_factory.mktemp("docker"), "redis") as one:
        yield one


def worker_is_back(course: Classroom, restarts: int) -> bool:
    [worker] = course.containers("worker")
    return bool(worker["RestartCount"] > restarts and worker["State"]["Health"]["Status"] == "healthy")


def test_everything_is_healthy_and_guarded(course: Classroom) -> None:
    found = {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in course.containers()}
    assert sorted(found) == ["api", "flower", "jupyter", "redis", "worker"]
    secrets = [value for name, value in course.settings.items() if name.endswith(("PASSWORD", "TOKEN"))]
    assert len(secrets) == 3
    for name, one in found.items():
        host = one["HostConfig"]
        assert one["State"]["Health"]["Status"] == "healthy", name
        assert {binding["HostIp"] for bindings in host["PortBindings"].values() for binding in bindings} <= {"127.0.0.1"}, name
        assert one["Config"]["User"].split(":")[0] not in ("", "0", "root"), name
        assert host["ReadonlyRootfs"], name
        assert host["Memory"] > 0, name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name
        assert not [secret for secret in secrets if secret in json.dumps(one["Config"]["Cmd"])], name
    assert stat.S_IMODE((course.root / "docker" / ".env").stat().st_mode) == 0o600


def test_the_image_of_the_worker_has_nothing_of_jupyter(course: Classroom) -> None:
    search = (
        "import importlib.util as u; print([name for name in ('jupyterlab', 'ipykernel', 'matplotlib', 'taskscope') if u.find_spec(name)])"
    )
    assert course.inside("worker", "python", "-c", search).stdout == "[]\n"
    sizes = [int(docker("image", "inspect", "--format", "{{.Size}}", f"{course.project}-{name}:local")) for name in ("worker", "jupyter")]
    assert sizes[0] < sizes[1]


def ask(address: str, authorization: str = "", post: bool = False) -> tuple[int, str]:
    """Ask for a page as somebody; return the status and what it says."""
    request = web.Request(address, b"" if post else None, {"Authorization": authorization} if authorization else {})
    try:
        with web.urlopen(request, timeout=30) as page:
            return page.status, page.read().decode()
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def learner(password: str) -> str:
    return "Basic " + base64.b64encode(f"learner:{password}".encode()).decode()


def test_flower_asks_for_a_password_of_its_own_and_only_shows(course: Classroom) -> None:
    flower = f"http://127.0.0.1:{course.ports['FLOWER']}"
    key = learner(course.settings["CLASSROOM_FLOWER_PASSWORD"])
    assert ask(f"{flower}/workers")[0] == 401
    assert ask(f"{flower}/workers", learner(course.settings["CLASSROOM_PASSWORD"]))[0] == 401, "the broker's password is another one"
    assert ask(f"{flower}/workers", key)[0] == 200
    for button in ("worker/shutdown/celery@lab", "worker/pool/grow/celery@lab?n=1", "task/revoke/some-id"):
        assert ask(f"{flower}/api/{button}", key, post=True) == (403, "Read only mode is enabled"), button


def test_jupyterlab_has_a_flower_beside_the_notebook(course: Classroom) -> None:
    source = (
        "from importlib.metadata import entry_points\n"
        "[flower] = entry_points(group='jupyter_serverproxy_servers', name='flower')\n"
        "print(flower.load()()['launcher_entry']['title'])"
    )
    done = course.inside("jupyter", "python", "-c", source)
    assert done.stdout == "Flower\n", done.stderr
    jupyter = f"http://127.0.0.1:{course.ports['JUPYTER']}"
    key = f"token {course.settings['CLASSROOM_JUPYTER_TOKEN']}"
    another = f"token {course.settings['CLASSROOM_PASSWORD']}"
    assert ask(f"{jupyter}/api/kernels", another)[0] == 403, "its token is not the broker's password"
    workers = f"{jupyter}/flower/api/workers?refresh=1"
    eventually(lambda: '"celery@lab"' in ask(workers, key)[1], "Flower, behind JupyterLab, knows the worker")
    assert ask(workers)[1].startswith("<!DOCTYPE"), "JupyterLab's door, for who has no token"


def served(request: web.Request | str) -> Any:
    """Return the answer of the web service; None where its Redis had to wait, and it is time to ask again."""
    try:
        return web.urlopen(request, timeout=30)
    except HTTPError as refused:
        with refused:
            assert refused.code == 503, refused
            time.sleep(int(refused.headers["Retry-After"]))
        return None


def test_the_web_service_has_the_worker_add(course: Classroom) -> None:
    address = f"http://127.0.0.1:{course.ports['API']}"
    request = web.Request(f"{address}/grouptasks", b'{"tasks": [{"paramA": 1, "paramB": 5}]}', {"Content-Type": "application/json"})
    with eventually(lambda: served(request), "the batch is taken") as accepted:
        assert accepted.status == 202
        batch = f"{address}{accepted.headers['Location']}"

    def results() -> list[int]:
        with eventually(lambda: served(batch), "it is told how far it is") as answer:
            told = json.load(answer)
        return told["results"] if told["grouptaskProcessed"] else []

    assert eventually(results, "the batch is done") == [6]


def test_the_lessons_from_the_host(course: Classroom) -> None:
    done = course.lessons(*(lesson.number for lesson in LESSONS if lesson.number < "10" or lesson.number == "12"))
    assert done.returncode == 0, done.stdout[-5000:]


def test_the_lesson_about_the_web_service_twice(course: Classroom) -> None:
    for _ in range(2):
        done = course.lessons("13")
        assert done.returncode == 0, done.stdout[-5000:]


def test_a_lesson_inside_the_container_of_jupyter(course: Classroom) -> None:
    lesson = next(lesson for lesson in LESSONS if lesson.number == "09")  # it writes files, tasks of its own, and everything else
    command = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"notebooks/{lesson.path.name}")
    done = course.inside("jupyter", "env", "CLASSROOM_TEST_OUTSIDE=1", *command)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_a_task_of_the_host_is_not_taken_for_dead_in_a_container(course: Classroom) -> None:
    with course.kernel() as notebook:
        assert notebook.say(CONNECT).startswith("Connected: redis://***@127.0.0.1:")
        notebook.say("from tutorial_tasks.arithmetic import add\nheld = add.apply_async((2, 2), countdown=600)")
        done = course.inside("jupyter", "python", "-c", CONNECT)
        assert "Another open notebook has tasks here, and this lesson will meet them: 1 × add" in done.stdout, done.stdout + done.stderr
    done = course.inside("jupyter", "python", "-c", CONNECT)
    assert "Cleared away what an earlier run had left: 1 × add" in done.stdout, done.stdout + done.stderr


def test_127_0_0_1_inside_a_container_is_the_container_itself(course: Classroom) -> None:
    done = course.inside("jupyter", "env", "CELERY_BROKER_URL=redis://:x@127.0.0.1:6379/0", "python", "-m", "classroom", "doctor")
    assert done.returncode == 1
    assert "inside a container 127.0.0.1 is the container itself; the services have names, such as redis" in done.stdout


def test_a_worker_that_is_killed_in_the_middle_of_a_lesson(course: Classroom) -> None:
    with course.kernel() as notebook:
        half_way(notebook)
        [worker] = course.containers("worker")
        [*_, keeper] = re.findall(r"begins, process (\d+)", docker("logs", worker["Id"]))
        course.inside("worker", "sh", "-c", f"kill -9 {keeper}")
        assert notebook.say("lab.connect()").startswith("Connected: "), "it waits for the keeper that is about to come back"
        eventually(lambda: worker_is_back(course, worker["RestartCount"]), "the worker is back")
        run_whole(notebook, FIRST)


def test_a_broker_that_is_restarted_in_the_middle_of_a_lesson(course: Classroom) -> None:
    with course.kernel() as notebook:
        half_way(notebook)
        docker("restart", course.containers("redis")[0]["Id"])
        eventually(lambda: notebook.say(CONNECT).startswith("Connected: "), "the worker is there again")
        run_whole(notebook, FIRST)


def test_down_and_up_in_the_middle_of_a_lesson(course: Classroom) -> None:
    with course.kernel() as notebook:
        half_way(notebook)
        course.down()
        assert course.left() == []
        said = notebook.say("result.get(timeout=1)")
        assert "The broker or the result backend does not answer.\n  next: " in said, said
        said = notebook.say(CONNECT)
        assert "refuses the connection: nothing listens there" in said, said
        course.up()
        run_whole(notebook, FIRST)


def test_three_workers(course: Classroom) -> None:
    course.up("--workers", "3")
    source = (
        CONNECT
        + """
from classroom.stack import workers
print(len(lab.worker.pool()))
lab.worker.stop()
from tutorial_tasks.arithmetic import add
results = [add.delay(n, n) for n in range(12)]
print(len(lab.waiting()), {worker.state for worker in workers.found()})
lab.worker.start()
print([result.get(timeout=10) for result in results] == [2 * n for n in range(12)], [worker.node for worker in workers.found()])
"""
    )
    done = course.python(source)
    lines = done.stdout.splitlines()
    assert "· worker celery@lab and 2 more, 6 processes, " in lines[0], done.stdout + done.stderr
    assert lines[1:] == ["6", "12 {'stopped'}", "True ['celery@lab', 'celery@lab-2', 'celery@lab-3']"], done.stderr
    course.up()  # the remedy that messages name
    assert len(course.containers("worker")) == 3, "it brings back what was chosen"
    course.up("--workers", "1")
    assert course.python(CONNECT).returncode == 0


def test_a_stale_image_is_named_and_docker_up_mends_it(course: Classroom) -> None:
    tasks = course.root / "tutorial_tasks" / "arithmetic.py"
    before = tasks.read_text()
    tasks.write_text(before + "\n# edited after the image was built\n")
    try:
        done = course.python(CONNECT)
        assert "runs in a stale image, whose tutorial_tasks is not this checkout's\n  next: make docker-up" in done.stderr
        course.up()
        assert course.python(CONNECT).returncode == 0
    finally:
        tasks.write_text(before)


def test_a_new_password_is_no_obstacle_to_docker_up(course: Classroom) -> None:
    env = course.root / "docker" / ".env"
    text = env.read_text()
    env.write_text("".join(line + "\n" for line in text.splitlines() if "PASSWORD" not in line))
    course.up()
    assert env.read_text() != text
    assert course.python(CONNECT).returncode == 0, "nothing has kept the old one"


def test_nothing_is_left_even_without_the_settings(course: Classroom) -> None:
    env = course.root / "docker" / ".env"
    kept = env.read_text()
    env.unlink()
    course.down()
    env.write_text(kept)
    assert course.left() == []
    assert not [line for line in docker("ps", "-a", "--format", "{{.Names}}").splitlines() if line.startswith(course.project)]

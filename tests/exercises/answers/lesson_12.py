"""Answers to the exercises of 12."""

NAMES = """
import os, signal, time, uuid
from classroom import lab
from tutorial_tasks.arithmetic import add, slow_add
from tutorial_tasks.celery_app import app
from tutorial_tasks.lifecycle import Gate, wait_at_gate

gate = Gate("lesson 12")

def send(many, queue="trial"):
    gate.close()
    return [wait_at_gate.apply_async(("lesson 12", 60), queue=queue) for number in range(many)]

six_tasks = lambda: send(6)

def has(node):
    ask = app.control.inspect([node], limit=1, timeout=5)
    return len(ask.active()[node]), len(ask.reserved()[node])

def end(worker, number):
    lab.until(lambda: has("celery@another") == (2, 4))
    os.kill(worker.pid, number)
"""

WRONG = [
    ("12.1", "constant", "return 4", "no message was sent"),
    ("12.1", "another queue", "add.apply_async((1, 1), queue='slow')", "your worker reads 'trial'"),
    ("12.1", "the gate stays closed", "six_tasks(); end(worker, signal.SIGTERM)", "is the gate open"),
    (
        "12.1",
        "a worker of its own",
        "worker = lab.another_worker('-c', '2', '-Q', 'trial'); six_tasks(); end(worker, signal.SIGTERM); gate.open()",
        "use the one that your function gets",
    ),
    ("12.1", "cold", "six_tasks(); end(worker, signal.SIGQUIT)", "2 tasks are lost: on record is RETRY"),
    ("12.1", "killed", "six_tasks(); end(worker, signal.SIGKILL)", "4 messages were not given back"),
    ("12.1", "nobody had them", "os.kill(worker.pid, signal.SIGTERM); worker.wait(10); send(4)", "no worker has ever had them. Wait"),
    (
        "12.1",
        "let all be done",
        "six_tasks(); gate.open(); lab.until(lambda: has('celery@another') == (0, 0)); worker.stop()",
        "0 messages came back",
    ),
    ("12.2", "constant", "return True", "you returned True"),
    ("12.2", "one word", "return '--statedb'", "return a list of words"),
    ("12.2", "no such option", "return ['--remember', folder]", "no worker starts with"),
    ("12.2", "another file each time", "return ['--statedb', f'{folder}/{uuid.uuid4()}']", "it had forgotten"),
    ("12.2", "an option for something else", "return ['--pidfile', f'{folder}/worker.pid']", "it had forgotten"),
]

RIGHT = [
    ("12.1", "send(6); end(worker, signal.SIGINT); gate.open()"),
    ("12.1", "send(6); lab.until(lambda: has('celery@another') == (2, 4)); app.control.shutdown(['celery@another']); gate.open()"),
    ("12.2", "return [f'-S{folder}/worker.state', '--loglevel', 'WARNING']"),
]

"""Answers to the exercises of 14."""

NAMES = """
from classroom import lab
from kombu import Queue
ADD = "tutorial_tasks.arithmetic.add"
orders = Queue("orders", max_priority=9)
on_redis = lambda one: one.connection_for_write().transport_cls == "redis"
"""

_SEND = "one.send_task(ADD, (number, 0), queue=orders, priority={})"

WRONG = [
    ("14.1", "constant", "return sorted(jobs)", "0 messages were sent"),
    ("14.1", "high is urgent", f"for number, u in jobs: {_SEND.format('u')}", "Redis hands them out in this order of urgency: 0, 3, 3"),
    ("14.1", "low is urgent", f"for number, u in jobs: {_SEND.format('9 - u')}", "RabbitMQ hands them out in this order of urgency: 0, 3"),
    ("14.1", "sorted, no priority", f"for number, u in sorted(jobs, key=lambda j: -j[1]): {_SEND.format('None')}", "9, 3, 0, 9, 6, 3"),
    ("14.1", "another queue", "for number, u in jobs: one.send_task(ADD, (number, 0), queue='slow', expires=0)", 'the queue "slow"'),
    ("14.1", "only the most urgent", "number, u = max(jobs, key=lambda j: j[1]); " + _SEND.format("0"), "1 messages were sent"),
    (
        "14.1",
        "the urgency as the number",
        "for number, u in jobs: one.send_task(ADD, (u, 0), queue=orders, priority=9 - u)",
        "send add(number, 0)",
    ),
    (
        "14.1",
        "the app of the lesson",
        "from tutorial_tasks.arithmetic import add\nfor number, u in jobs: add.apply_async((number, 0), queue='orders', priority=9 - u)",
        "on RabbitMQ 0 of 6 messages wait: send them with the app",
    ),
    ("14.2", "constant", "return 'office.bill'", "0 messages were sent"),
    ("14.2", "the default queue", "return office.send_task('office.bill', (7,))", 'the queue "celery", which our worker reads'),
    ("14.2", "later", "return office.send_task('office.bill', (7,), countdown=600)", 'the queue "celery", which our worker reads'),
    (
        "14.2",
        "the other queue of ours",
        "return office.send_task('office.bill', (7,), queue='slow')",
        'the queue "slow", which our worker reads',
    ),
    ("14.2", "another bill", "return office.send_task('office.bill', (8,), queue='office')", "not bill(7)"),
    ("14.2", "nothing returned", "office.send_task('office.bill', (7,), queue='office')", "return the result"),
    (
        "14.2",
        "an app of its own",
        "from celery import Celery\nreturn Celery('office', set_as_current=False).send_task('office.bill', (7,), queue='office')",
        "on RabbitMQ no such message waits",
    ),
    (
        "14.2",
        "on Redis only",
        "return office.send_task('office.bill', (7,), queue='office' if on_redis(office) else 'celery')",
        'on RabbitMQ it went to the queue "celery"',
    ),
]

RIGHT: list[tuple[str, str]] = [
    ("14.1", "for number, u in jobs: one.send_task(ADD, (number, 0), queue=orders, priority=abs((9 if on_redis(one) else 0) - u))"),
    ("14.2", "return office.send_task('office.bill', (7,), queue='office')"),
    ("14.2", "office.conf.task_routes = {'office.*': 'bills'}; return office.send_task('office.bill', args=[7])"),
]

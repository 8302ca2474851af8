"""Every setting of the application, each with the reason why it is not left to its default.

The three things that differ from one machine to the next come from the environment:
`CELERY_BROKER_URL`, `CELERY_RESULT_BACKEND`, and `CELERY_KEY_PREFIX` (several people on one server,
each with a prefix such as `alice:`). Names and meanings: https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

import os
from pathlib import Path
from typing import Any

# Where messages go. Celery itself reads this variable too; it stands here so that a reader need not know that.
broker_url = os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0")
# Where results go. The same server unless told otherwise: Redis can be both.
result_backend = os.environ.get("CELERY_RESULT_BACKEND", broker_url)

# The modules that a worker imports before it says "ready": a task that is not imported is not registered.
imports = (
    "tutorial_tasks.arithmetic",
    "tutorial_tasks.batches",
    "tutorial_tasks.collectors",
    "tutorial_tasks.lifecycle",
    "tutorial_tasks.projects",
    "tutorial_tasks.shops",
)

# JSON only, both ways: a pickle from the network can run any code at all.
task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]
result_accept_content = ["json"]

# Without this a running task reads PENDING, like one that never existed.
task_track_started = True
# A stored result then names its task, arguments, worker and queue, not only the value.
result_extended = True

# Workers tell what they do, and so does everybody who sends: the pictures are drawn from these events.
worker_send_task_events = True
task_send_sent_event = True

# A worker that starts before its broker keeps trying, instead of giving up.
broker_connection_retry_on_startup = True
# The default of 4 seconds is for one try; a server that does not answer on a local network is not there.
broker_connection_timeout = 2
redis_socket_connect_timeout = 2
# A late-acknowledged task whose connection is lost is delivered again, so its first run is cut short (the default of Celery 6).
worker_cancel_long_running_tasks_on_connection_loss = True
# A runaway task ends after ten minutes instead of holding its worker process for ever.
task_time_limit = 600

# With the defaults, delay() hangs for about 19 seconds when Redis is gone. Six tries in one and a half
# seconds are enough for a broker that restarts, and short enough for a person who waits.
_retry_policy = {"max_retries": 5, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 0.5}
task_publish_retry_policy = _retry_policy

broker_transport_options: dict[str, Any] = {}
result_backend_transport_options: dict[str, Any] = {"retry_policy": _retry_policy}

# RabbitMQ only: delay() returns when the broker has the message, and raises when it has not. Without this, what is sent into
# a connection that is about to break is lost without a word.
if broker_url.startswith("amqp"):
    broker_transport_options["confirm_publish"] = True

# A prefix keeps several people apart on one server. It ends with a colon: Celery's result backend
# would add an underscore of its own otherwise, its broker would not.
key_prefix = os.environ.get("CELERY_KEY_PREFIX", "")
if key_prefix:
    key_prefix = key_prefix.rstrip(":") + ":"
    broker_transport_options["global_keyprefix"] = key_prefix
    result_backend_transport_options["global_keyprefix"] = key_prefix

# The only folder that tasks write to: whoever can send a message can name a path.
data_dir = Path(os.environ.get("TUTORIAL_DATA_DIR") or Path(__file__).resolve().parents[1] / "data")

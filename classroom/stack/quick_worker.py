"""A `celery -A APP worker` that is ready sooner: `python -m classroom.stack.quick_worker APP`, then its options.

The `celery` program imports its other commands first, a shell with completion and Flower among them; this one has its worker only.
"""

import sys

from celery.app.utils import find_app
from celery.bin.base import CLIContext
from celery.bin.worker import worker


def main(name: str, options: list[str]) -> None:
    """Run the worker of an application, as `celery` would, until it ends."""
    context = CLIContext(app=find_app(name), no_color=False, workdir=None)
    worker.main(options, prog_name=f"celery -A {name} worker", obj=context)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

"""A small, well-kept Celery project: what the worker of the course runs.

Start at `celery_app`, then `settings`, then any module of tasks. Nothing in here knows about notebooks.
"""

"""The Celery application: one object that both sides import, the one that sends and the one that works."""

from celery import Celery

app = Celery("tutorial_tasks")
app.config_from_object("tutorial_tasks.settings")

"""See what a Celery application does: every attempt, every message, every stored result, live and as a still."""

"""One broker and one worker for each checkout, shared by every notebook, script and test that wants them.

client        joins the stack or starts it; what everybody else uses
supervisor    a process of its own that starts the two, watches them, and stops them when nobody is left
server        finds a Redis-like server and starts it
rabbitmq      finds a RabbitMQ and starts a node of it
lifeline      ties a child's life to its parent's
quick_worker  `celery worker`, ready sooner
worker_side   what the worker process does for the course
ready         says that a worker hears, whosever it is
place         the folder in which all of them meet
"""

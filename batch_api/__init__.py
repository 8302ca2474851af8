"""A small web service in front of a task queue: hand in a batch, get a receipt at once, ask for the results later.

Start at `app` (the routes), then `service` (what a request does), then `store` (what is kept in Redis, and why).
"""

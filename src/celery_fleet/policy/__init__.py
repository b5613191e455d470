"""The topology applied to a Celery app: queues, routes, priorities, limits, retries, connections."""

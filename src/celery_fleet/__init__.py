"""Runs any Celery app as a well-behaved fleet of systemd services."""

__version__ = "0.1.0"

"""`python -m celery_fleet.cli`: the same as `fleet`."""

from .main import fleet

fleet()

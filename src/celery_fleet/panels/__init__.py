"""The fleet's dashboards: one source of panels, drawn by the console and generated for Grafana. Pure data and functions."""

from .fleet import FLEET
from .hosts import HOSTS
from .model import Dashboard
from .queues import QUEUES
from .redis import REDIS
from .workers import WORKERS

DASHBOARDS: tuple[Dashboard, ...] = (FLEET, QUEUES, WORKERS, REDIS, HOSTS)


def dashboard(name: str) -> Dashboard | None:
    return next((each for each in DASHBOARDS if each.name == name), None)

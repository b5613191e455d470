"""The dashboard: server-rendered pages below /ui."""

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from . import alerts, audit, dead_letters, metrics, overview, queues, schedules, session, tasks, workers

router = APIRouter(include_in_schema=False)

for _part in (session, overview, queues, workers, tasks, dead_letters, schedules, metrics, alerts, audit):
    router.include_router(_part.router)


@router.get("/")
def home() -> RedirectResponse:
    return RedirectResponse("/ui")

"""The page of Alertmanager's alerts, where they are silenced."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from celery_fleet.console.alerts import alerts as read_alerts
from celery_fleet.console.alerts import silence as silence_alert
from celery_fleet.console.alerts import unsilence
from celery_fleet.console.auth import Operator, Viewer
from celery_fleet.console.errors import Problem
from celery_fleet.console.fleet import FleetOf
from celery_fleet.console.models.alerts import AlertInfo, SilenceRequest
from celery_fleet.console.pages.rendering import redirect, render
from celery_fleet.console.pages.words import sentence

router = APIRouter()

PATH = "/ui/alerts"

DURATIONS = ((3600, "1 hour"), (4 * 3600, "4 hours"), (86_400, "1 day"), (7 * 86_400, "1 week"))
"""How long a silence may be, as the form offers it: seconds, and what it says."""

_TONES = {"critical": "bad", "page": "bad", "error": "bad", "warning": "warn", "ticket": "warn"}
_WORDS = {
    "page": "Somebody is needed now",
    "ticket": "To be looked at soon",
    "none": "For information",
    "info": "For information",
}


@dataclass(frozen=True)
class Group:
    """Alerts of one severity that fire, or those that are silenced."""

    title: str
    tone: str
    alerts: tuple[AlertInfo, ...]


@router.get(PATH)
def alerts(request: Request, _actor: Viewer, fleet: FleetOf) -> Response:
    found = read_alerts(fleet)
    return render(
        request,
        "alerts.html",
        active="alerts",
        found=found,
        groups=grouped(found.alerts),
        durations=DURATIONS,
        told=told,
        configured=bool(fleet.settings.alertmanager_url),
    )


@router.post(PATH + "/silence")
def silence(  # noqa: PLR0917 - the fields of the form
    request: Request,
    actor: Operator,
    fleet: FleetOf,
    fingerprint: Annotated[str, Form(min_length=1, max_length=100)],
    duration: Annotated[int, Form(ge=60, le=30 * 86_400)],
    comment: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    asked = SilenceRequest(fingerprint=fingerprint, duration=duration, comment=comment.strip())
    try:
        done = silence_alert(fleet, actor, asked)
    except Problem as problem:
        return redirect(request, PATH, sentence(problem.detail), "warn")
    return redirect(request, PATH, sentence(done.message))


@router.post(PATH + "/silences/{silence_id}/expire")
def expire(request: Request, actor: Operator, fleet: FleetOf, silence_id: str) -> Response:
    try:
        done = unsilence(fleet, actor, silence_id)
    except Problem as problem:
        return redirect(request, PATH, sentence(problem.detail), "warn")
    return redirect(request, PATH, sentence(done.message))


def told(command: str) -> tuple[str, str]:
    """A command to run, and where or why, which follows it as a comment.

    >>> told("sudo fleet queues  # on a host with workers")
    ('sudo fleet queues', 'on a host with workers')
    >>> told("amtool alert")
    ('amtool alert', '')
    """
    run, _, where = command.partition("  # ")
    return run.strip(), where.strip()


def grouped(alerts: Iterable[AlertInfo]) -> list[Group]:
    """By severity in the order that they come in, the worst first; the silenced ones apart, at the end."""
    firing: dict[str, list[AlertInfo]] = {}
    silenced = []
    for alert in alerts:
        if alert.silenced_by or alert.state == "suppressed":
            silenced.append(alert)
        else:
            firing.setdefault(alert.severity or "other", []).append(alert)
    groups = [
        Group(_WORDS.get(severity, severity.capitalize()), _TONES.get(severity, "idle"), tuple(found))
        for severity, found in firing.items()
    ]
    return groups + ([Group("Silenced", "apart", tuple(silenced))] if silenced else [])

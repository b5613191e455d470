"""Alerts of Alertmanager, and silences. It may be away or not configured: then the answer says so."""

import logging
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from .audits import note
from .errors import NotFound, Problem, Unavailable
from .models.alerts import AlertInfo, AlertList, Matcher, Silenced, SilenceInfo, SilenceRequest

if TYPE_CHECKING:
    from .auth import Actor
    from .fleet import Fleet
    from .settings import Settings

log = logging.getLogger(__name__)

TIMEOUT = 2.0
"""Seconds that Alertmanager has for an answer."""

NOT_CONFIGURED = "no Alertmanager is configured: the variable CONSOLE_ALERTMANAGER_URL names it"

_SEVERITIES = ("critical", "page", "error", "warning", "ticket", "info", "none")
"""The worst first."""

_CALM = frozenset({"info", "none"})
"""Severities that ask nobody to do anything, such as that of an alert that always fires."""

_SLACK = timedelta(minutes=1)
_KEPT = timedelta(days=1)
"""For so long silences that have ended are shown."""


def alerts(fleet: "Fleet") -> AlertList:
    """Never an exception: what is not known is said."""
    url = fleet.settings.alertmanager_url
    if not url:
        return AlertList(available=False, reason=NOT_CONFIGURED)
    try:
        found = _json(_client(fleet).get("/api/v2/alerts"))
        silences = _json(_client(fleet).get("/api/v2/silences"))
        return AlertList(
            available=True,
            alerts=sorted((alert_info(each) for each in found), key=_urgency),
            silences=shown_silences(map(silence_info, silences), datetime.now(UTC)),
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("Alertmanager at %s: %s", url, _told(error))
        return AlertList(available=False, reason=f"Alertmanager at {url} cannot be read: {_told(error)}")


def active(found: AlertList) -> int | None:
    """How many alerts ask for somebody: they fire and are not silenced; None: not known."""
    if not found.available:
        return None
    return sum(alert.state != "suppressed" and alert.severity not in _CALM for alert in found.alerts)


def silence(fleet: "Fleet", actor: "Actor", asked: SilenceRequest) -> Silenced:
    """Silences one alert, by all of its labels, or what matches. Raises NotFound, Unavailable, Problem."""
    client, now = _asked_client(fleet), datetime.now(UTC)
    ends_at = now + timedelta(seconds=asked.duration)
    matchers = _matchers_of(client, asked.fingerprint) if asked.fingerprint else list(asked.matchers)
    text = " ".join(map(matcher_text, matchers))
    same = _same_silence(client, matchers)
    if same and same.ends_at >= ends_at - _SLACK:
        until = f"{same.ends_at:%Y-%m-%d %H:%M} UTC"
        return Silenced(
            id=same.id,
            status="silenced",
            message=f"Silent already, until {until}: {text}",
            ends_at=same.ends_at,
        )
    body = {
        "matchers": [
            {"name": each.name, "value": each.value, "isRegex": each.is_regex, "isEqual": each.is_equal}
            for each in matchers
        ],
        "startsAt": (same.starts_at if same else now).isoformat(),
        "endsAt": ends_at.isoformat(),
        "createdBy": actor.name,
        "comment": asked.comment or f"silenced by {actor.name} from the console",
        **({"id": same.id} if same else {}),
    }
    made = str(_asked(client, "POST", "/api/v2/silences", body)["silenceID"])
    note(fleet, actor, "silence.create", text, id=made, seconds=asked.duration, comment=asked.comment)
    until = f"{ends_at:%Y-%m-%d %H:%M} UTC"
    return Silenced(id=made, status="silenced", message=f"Silent until {until}: {text}", ends_at=ends_at)


def unsilence(fleet: "Fleet", actor: "Actor", silence_id: str) -> Silenced:
    """Ends a silence. Raises NotFound, Unavailable."""
    client = _asked_client(fleet)
    found = silence_info(_asked(client, "GET", f"/api/v2/silence/{_plain(silence_id)}"))
    if found.state == "expired":
        return Silenced(id=found.id, status="expired", message="This silence has ended before")
    _asked(client, "DELETE", f"/api/v2/silence/{found.id}")
    note(fleet, actor, "silence.expire", found.text, id=found.id)
    return Silenced(id=found.id, status="expired", message=f"No more silent: {found.text}")


def alert_info(alert: Mapping[str, Any]) -> AlertInfo:
    """One alert of Alertmanager's API."""
    labels, annotations, status = dict(alert["labels"]), dict(alert["annotations"]), alert["status"]
    return AlertInfo(
        fingerprint=alert["fingerprint"],
        name=labels.get("alertname", ""),
        severity=labels.get("severity", ""),
        state=status["state"],
        summary=annotations.get("summary", ""),
        description=annotations.get("description") or annotations.get("message") or "",
        impact=annotations.get("impact", ""),
        command=annotations.get("command", ""),
        runbook_url=_link(annotations.get("runbook_url")),
        dashboard_url=_link(annotations.get("dashboard_url")),
        labels=labels,
        annotations=annotations,
        starts_at=alert["startsAt"],
        silenced_by=list(status.get("silencedBy", ())),
    )


def silence_info(silence: Mapping[str, Any]) -> SilenceInfo:
    matchers = [
        Matcher(
            name=each["name"],
            value=each["value"],
            is_regex=each.get("isRegex", False),
            is_equal=each.get("isEqual", True),
        )
        for each in silence["matchers"]
    ]
    return SilenceInfo(
        id=silence["id"],
        state=silence["status"]["state"],
        by=silence["createdBy"],
        comment=silence["comment"],
        starts_at=silence["startsAt"],
        ends_at=silence["endsAt"],
        matchers=matchers,
        text=" ".join(map(matcher_text, matchers)),
    )


def shown_silences(silences: Any, now: datetime) -> list[SilenceInfo]:
    """Those that hold, the first to end first; then those that have ended of late, the last to end first."""
    found: list[SilenceInfo] = list(silences)
    holding = sorted((each for each in found if each.state != "expired"), key=lambda each: each.ends_at)
    ended = [each for each in found if each.state == "expired" and each.ends_at >= now - _KEPT]
    return holding + sorted(ended, key=lambda each: each.ends_at, reverse=True)


def matcher_text(matcher: Matcher) -> str:
    r"""As Alertmanager writes it.

    >>> matcher_text(Matcher(name="queue", value='a"b', is_regex=True, is_equal=False))
    'queue!~"a\\"b"'
    """
    operator = {(False, True): "=", (True, True): "=~", (False, False): "!=", (True, False): "!~"}
    value = matcher.value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{matcher.name}{operator[matcher.is_regex, matcher.is_equal]}"{value}"'


def _urgency(alert: AlertInfo) -> tuple[bool, int, str, datetime]:
    place = _SEVERITIES.index(alert.severity) if alert.severity in _SEVERITIES else len(_SEVERITIES)
    return alert.state == "suppressed", place, alert.name, alert.starts_at


def monitor_client(url: str, settings: "Settings", timeout: float = TIMEOUT) -> httpx.Client:
    """For Prometheus or Alertmanager. One for all threads: it is costly to make."""
    authority = settings.monitoring_ca_file if url.startswith("https:") else None
    # Another file makes another client.
    trust = (authority, _written(authority)) if authority else None
    return _made(url, (settings.monitoring_user, settings.monitoring_password), timeout, trust)


def _written(file: Path) -> int:
    """When a file was written, in nanoseconds; 0: it cannot be seen."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=8)
def _made(url: str, login: tuple[str, str], timeout: float, trust: tuple[Path, int] | None) -> httpx.Client:
    return httpx.Client(
        base_url=url,
        timeout=timeout,
        trust_env=False,
        auth=httpx.BasicAuth(*login) if login[0] else None,
        verify=_trusting(trust[0]) if trust else True,
    )


def _trusting(authority: Path) -> ssl.SSLContext:
    """Of a file that cannot be read, nobody is trusted: the log says why, and requests fail as any may."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(authority)
    except OSError as error:
        log.warning("whom Alertmanager and Prometheus have certificates from, %s: %s", authority, error)
    return context


def _client(fleet: "Fleet") -> httpx.Client:
    return monitor_client(fleet.settings.alertmanager_url, fleet.settings)


def _asked_client(fleet: "Fleet") -> httpx.Client:
    if not fleet.settings.alertmanager_url:
        raise Unavailable(NOT_CONFIGURED, code="no_alertmanager")
    return _client(fleet)


def _matchers_of(client: httpx.Client, fingerprint: str) -> list[Matcher]:
    """All labels of an alert. Raises NotFound."""
    for each in _asked(client, "GET", "/api/v2/alerts"):
        if each["fingerprint"] == fingerprint:
            return [Matcher(name=name, value=value) for name, value in sorted(each["labels"].items())]
    raise NotFound("this alert does not fire any more: there is nothing to silence")


def _same_silence(client: httpx.Client, matchers: Sequence[Matcher]) -> SilenceInfo | None:
    """One that holds for the same already: a second click adds none, and a longer time extends it."""
    wanted = sorted(map(matcher_text, matchers))
    for each in map(silence_info, _asked(client, "GET", "/api/v2/silences")):
        if each.state == "active" and sorted(map(matcher_text, each.matchers)) == wanted:
            return each
    return None


def _asked(client: httpx.Client, method: str, path: str, body: Any = None) -> Any:
    """What Alertmanager answers. Raises Unavailable, NotFound, Problem."""
    try:
        response = client.request(method, path, json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(
            f"Alertmanager at {client.base_url} does not answer: {_told(error)}", code="no_alertmanager"
        ) from error
    if response.status_code == 404:
        raise NotFound("Alertmanager knows no such silence")
    if response.is_client_error:
        text = response.text.strip()[:500]
        raise Problem(f"Alertmanager refuses this: {text}", status=422, code="alertmanager_refuses")
    if response.is_error:
        raise Unavailable(f"Alertmanager answers {response.status_code}", code="no_alertmanager")
    return response.json() if response.content else None


def _json(response: httpx.Response) -> Any:
    return response.raise_for_status().json()


def _plain(silence_id: str) -> str:
    """An id is hexadecimal digits and hyphens: nothing else gets into a path. Raises NotFound."""
    if not silence_id or not set(silence_id.lower()) <= set("0123456789abcdef-"):
        raise NotFound("Alertmanager knows no such silence")
    return silence_id


def _link(url: str | None) -> str | None:
    """Only what a browser may follow: annotations are text that anybody may have written."""
    return url if url and url.startswith(("https://", "http://")) else None


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")

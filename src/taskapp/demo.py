"""One real task per queue, sent to the workers that are running, and a table of what came back.

`python -m taskapp.demo` uses the app that `TASKAPP_CELERY` names, and ends with 0 when every task succeeded.
"""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from celery import Celery
from celery.app.utils import find_app
from celery.result import AsyncResult

from taskapp.errors import FatalError
from taskapp.settings import Settings, current


@dataclass(frozen=True)
class Case:
    """A task to send: its name, its parameters, and its queue where the app's routes do not say."""

    task: str
    kwargs: dict[str, Any]
    queue: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task: `seconds` from sending it until its result was there, or waiting ended."""

    queue: str
    task: str
    worker: str
    state: str
    seconds: float
    result: str

    @property
    def ok(self) -> bool:
        """Whether the task did what it should."""
        return self.state == "SUCCESS"


def cases(settings: Settings) -> list[Case]:
    """A task of each kind; those that need an endpoint only when the settings name one."""
    unique = time.time_ns()
    fir = f"demo-{unique}"
    found = [
        Case("taskapp.diagnostics.echo", {"value": "hello"}),
        Case("taskapp.jobs.process", {"data": "one real task per queue"}),
        Case("taskapp.jobs.calculate", {"data": 999}),
        Case("automated_gather_creation", {"events": 2, "seed": unique % 2**31}),
        Case("afirgen_tasks.email.send_confirmation", {"fir_id": fir, "recipient": settings.mail_from}),
        Case("afirgen_tasks.reports.generate_pdf", {"fir_id": fir, "rows": [["filed", 3], ["closed", 2]]}),
        Case("afirgen_tasks.analytics.update_dashboard", {"hours": 24}),
        Case("afirgen_tasks.cleanup.archive_old_records", {"older_than_days": 365}),
    ]
    if url := settings.demo_health_url:
        found.append(Case("taskapp.applications.check_health", {"application_id": "demo", "health_url": url}))
    if url := settings.webhook_url:
        found.append(Case("promgen.tasks.notify", {"payload": {"alert": fir}, "url": url}))
    for server in _names(settings.demo_servers):
        groups = [{"targets": _names(settings.demo_targets), "labels": {"server": server}}]
        kwargs = {"server": server, "job": "demo", "groups": groups}
        found.append(Case("promgen.tasks.write_targets", kwargs, queue=server))
        rules = [{"record": "demo:up:sum", "expr": "sum(up)"}]
        kwargs = {"server": server, "name": "demo", "groups": [{"name": "demo", "rules": rules}]}
        found.append(Case("promgen.tasks.write_rules", kwargs, queue=server))
    return found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def queue_of(app: Celery, case: Case) -> str:
    """The queue to which the case goes, by itself or by the app's routes."""
    if case.queue is not None:
        return case.queue
    queue = app.amqp.router.route({}, case.task, (), case.kwargs)["queue"]
    return str(getattr(queue, "name", queue))


def known_queues(app: Celery) -> set[str]:
    """The queues that the app declares, and those that running workers consume."""
    consumed = app.control.inspect(timeout=2).active_queues() or {}
    return {*app.amqp.queues, *(queue["name"] for queues in consumed.values() for queue in queues)}


def plan(app: Celery, sent: Iterable[Case], queues: Iterable[str]) -> list[tuple[str, Case]]:
    """Queue and case, by queue: `sent`, and an echo for each of `queues` to which none of them goes."""
    planned = [(queue_of(app, case), case) for case in sent]
    missing = set(queues) - {queue for queue, _ in planned}
    planned += [(queue, Case("taskapp.diagnostics.echo", {"value": queue}, queue)) for queue in missing]
    return sorted(planned, key=lambda item: (item[0], item[1].task))


def run(app: Celery, settings: Settings | None = None) -> list[Outcome]:
    """Send the tasks through `app`, wait for all (`TASKAPP_DEMO_TIMEOUT`), tell what came back."""
    settings = settings or current()
    app.loader.import_default_modules()
    deadline = time.monotonic() + settings.demo_timeout
    sent = []
    for queue, case in plan(app, cases(settings), known_queues(app)):
        # What nobody takes in time must not surprise a worker later.
        options = {"expires": settings.demo_timeout, **({"queue": case.queue} if case.queue else {})}
        result = app.signature(case.task, kwargs=case.kwargs).apply_async(**options)
        sent.append((queue, case, result, time.monotonic()))
    finished: dict[str, float] = {}
    while len(finished) < len(sent) and time.monotonic() < deadline:
        finished |= {
            result.id: time.monotonic()
            for _, _, result, _ in sent
            if result.id not in finished and result.ready()
        }
        time.sleep(0.05)
    return [
        judge(queue, case.task, result, finished.get(result.id, deadline) - started)
        for queue, case, result, started in sent
    ]


def judge(queue: str, task: str, result: AsyncResult, seconds: float) -> Outcome:
    """The outcome of a task: one that returned an error, or is not over yet, is no success."""
    state, value = str(result.state), result.result
    if state == "SUCCESS" and isinstance(value, dict) and value.get("status") == "error":
        state, value = "ERROR", value.get("message")
    elif state == "SUCCESS" and isinstance(value, dict):
        value = value.get("result")
    elif not result.ready():
        value = f"no result within {seconds:.0f} s"
    return Outcome(queue, task, str(result.worker or "-"), state, round(seconds, 2), brief(value))


def brief(value: Any, width: int = 60) -> str:
    """A value on one line: of an object, its simple members."""
    if isinstance(value, dict):
        value = " ".join(f"{k}={v}" for k, v in value.items() if isinstance(v, str | int | float))
    text = " ".join(str(value).split())
    return text if len(text) <= width else text[: width - 3] + "..."


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as aligned columns under a heading."""
    names = [field.name for field in fields(Outcome)]
    rows = [names, *([str(getattr(outcome, name)) for name in names] for outcome in outcomes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main() -> int:
    """Run the demo, print its table; the exit code is 1 when a task did not succeed, 2 for bad settings."""
    try:
        settings = current()
    except FatalError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    outcomes = run(find_app(settings.celery), settings)
    failed = [outcome for outcome in outcomes if not outcome.ok]
    sys.stdout.write(f"{table(outcomes)}\n\n{len(outcomes) - len(failed)} of {len(outcomes)} succeeded\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

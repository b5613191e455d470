"""Each fault is told by the right alerts, by these only, and they end when it is mended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import pytest

from acceptance.waiting import eventually
from alerts.faults import Fault, Stage
from alerts.sink import Sink, Told
from monitors import alertmanager_of

TOLD_WITHIN = 240.0
ENDED_WITHIN = 480.0
"""Seconds. A burn rate looks at five minutes, and what a service died of is told for ten."""

ALWAYS = {"Watchdog"}

ROUNDS: dict[str, Callable[[Stage], list[Fault]]] = {
    "services": lambda stage: [
        stage.stopped_pool("reports"),
        stage.stopped_beat(),
        stage.full_disk("worker1"),
        stage.failed_unit("worker2"),
        stage.paused_queue("analytics"),
        stage.ending_certificate(stage.monitor),
    ],
    "tasks": lambda stage: [
        stage.killed_worker("cpu"),
        stage.hanging_task("mail", "email"),
        stage.flood("reports"),
        stage.failures("default"),
    ],
    "a full Redis": lambda stage: [stage.full_redis()],
    "no Redis": lambda stage: [stage.dead_redis()],
    "a lost host": lambda stage: [stage.cut_host("worker2")],
}
"""Faults that do not touch each other are caused together: that saves waiting, and shows that none hides another."""

SHORT = ["services"]
"""What is tried when ALERTS is not set to `all`."""


def quiet(stage: Stage, sink: Sink, faults: Iterable[Fault] = ()) -> None:
    """Waits until nothing fires any more, and that has been told."""
    alertmanager = alertmanager_of(stage.fleet)

    def firing() -> list[str]:
        # What fired before the sink listened is not told again.
        known = [
            Told(0, True, each["labels"], each["annotations"])
            for each in alertmanager.ask("/api/v2/alerts?silenced=false")
        ]
        left = {str(told): told for told in (*sink.firing(), *known) if told.name not in ALWAYS}
        for fault in faults:
            if fault.makes_up and any(
                wanted.is_told_by(told) for wanted in fault.raises for told in left.values()
            ):
                fault.makes_up()
        return sorted(left)

    eventually(
        firing,
        "no alert fires",
        ENDED_WITHIN,
        until=lambda firing: not firing,
    )


@pytest.mark.parametrize("name", list(ROUNDS) if os.environ.get("ALERTS") == "all" else SHORT)
def test_faults_are_told_and_end(
    name: str, stage: Stage, sink: Sink, record_property: Callable[[str, object], None]
) -> None:
    faults = ROUNDS[name](stage)
    quiet(stage, sink, faults)
    began = time.time()
    with ExitStack() as mending:  # each, also when one fails
        for fault in faults:
            mending.callback(fault.mend)
            fault.cause()

        def missing() -> list[str]:
            for fault in faults:
                if fault.goes_on and not raised(fault, sink.since(began)):
                    fault.goes_on()
            told = sink.since(began)
            return [
                f"{fault.name}: {wanted}"
                for fault in faults
                for wanted in fault.raises
                if not any(wanted.is_told_by(each) for each in told)
            ]

        eventually(missing, "the alerts are told", TOLD_WITHIN, until=lambda left: not left)
    mended = time.time()
    quiet(stage, sink, faults)
    told = sink.since(began)
    for fault in faults:
        for wanted in fault.raises:
            first = next(each.at for each in told if each.firing and wanted.is_told_by(each))
            last = [each for each in told if each.firing and wanted.is_told_by(each)][-1]
            ended = next(each.at for each in told if each.group == last.group and each.at > last.at)
            print(
                f"{fault.name}: {wanted} after {first - began:.0f} s, ended {ended - mended:.0f} s after it was mended"
            )
            record_property(str(wanted), (round(first - began), round(ended - mended)))
    assert not unexpected(told, faults), "only what follows is told"


def raised(fault: Fault, told: Iterable[Told]) -> bool:
    told = list(told)
    return all(any(wanted.is_told_by(each) for each in told) for wanted in fault.raises)


def unexpected(told: Iterable[Told], faults: Iterable[Fault]) -> list[str]:
    known = [each for fault in faults for each in (*fault.raises, *fault.follows)]
    return sorted(
        {
            str(each)
            for each in told
            if each.firing and each.name not in ALWAYS and not any(one.is_told_by(each) for one in known)
        }
    )


def test_what_is_told_says_what_to_do(sink: Sink) -> None:
    """What came in the tests above has all that helps at night."""
    told = [each for each in sink.told if each.name not in ALWAYS]
    assert told, "run it with the others"
    for each in told:
        assert each.annotations.keys() >= {"summary", "impact", "command", "runbook_url"}, each
        assert each.annotations["runbook_url"].endswith(f"#{each.name.lower()}")
        assert "{{" not in "".join(each.annotations.values())

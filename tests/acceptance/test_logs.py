"""C9: what the log says about tasks, in the journal and in the files, through rotations."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from acceptance import units
from acceptance.application import ECHO, FAIL, SLEEP, Application, Task
from acceptance.waiting import eventually
from hosts import Fleet

pytestmark = pytest.mark.usefixtures("as_inventoried")

LOGS = "/var/log/celery"
ROTATION = "/etc/logrotate.d/celery"
STAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 "


def everywhere(fleet: Fleet, task: Task) -> dict[str, list[str]]:
    """Host to the messages that `journalctl TASK_ID=` finds there; hosts without any are left out."""
    found = units.on_all(
        fleet.names,
        lambda name: [line["MESSAGE"] for line in units.journal(fleet.host(name), f"TASK_ID={task.id}")],
    )
    return {name: messages for name, messages in found.items() if messages}


def in_files(fleet: Fleet, name: str, text: str) -> list[str]:
    """Lines with this text in the log files of a host, rotated or not."""
    # The oldest first; zcat takes plain files as well.
    # Found nothing is an answer: the callers compare what was found
    command = f"ls -tr {LOGS}/*.log* | xargs zcat -f | grep -F -- '{text}' || true"
    return str(fleet.host(name).check_output(command)).splitlines()


class TestPatterns:
    """Each in the journal, found by the id of its task alone, on the host where it ran; and in a file there."""

    def expect(self, fleet: Fleet, task: Task, host: str, *patterns: str) -> None:
        found = eventually(
            lambda: everywhere(fleet, task),
            f"the journal has {patterns} of {task.id}",
            until=lambda found: all(
                any(re.search(pattern, line) for line in found.get(host, [])) for pattern in patterns
            ),
        )
        assert found.keys() == {host}
        lines = in_files(fleet, host, task.id)
        for pattern in patterns:
            assert any(re.search(f"{STAMP}{pattern.removeprefix('^')}", line) for line in lines), (
                pattern,
                lines,
            )

    def test_started_and_completed(self, app: Application, fleet: Fleet) -> None:
        task = app.send(SLEEP, "reports", seconds=0.2)
        task.result()
        self.expect(
            fleet,
            task,
            "worker2",
            f"^INFO: Task started task_id={task.id} task_name={SLEEP}$",
            rf"^INFO: Task completed task_id={task.id} duration=0\.\d+ state=SUCCESS$",
        )

    def test_failed(self, app: Application, fleet: Fleet) -> None:
        task = app.send(FAIL, "default")
        task.until("FAILURE")
        self.expect(fleet, task, "worker1", f"^ERROR: Task failed task_id={task.id} exception=RuntimeError")

    def test_retry(self, app: Application, fleet: Fleet) -> None:
        task = app.send(FAIL, "default", how="transient")
        task.until("RETRY")
        self.expect(
            fleet, task, "worker1", f"^WARNING: Task retry scheduled task_id={task.id} reason=.+ attempt=1$"
        )
        app.revoke(task)

    def test_revoked(self, app: Application, fleet: Fleet) -> None:
        task = app.send(SLEEP, "default", seconds=60)
        task.until("STARTED")
        app.revoke(task, terminate=True)
        task.until("REVOKED")
        self.expect(fleet, task, "worker1", f"^WARNING: Task revoked task_id={task.id} terminated=True$")

    def test_the_lines_of_the_app_itself(self, app: Application, fleet: Fleet) -> None:
        """The app knows nothing of the journal's fields; its lines have them all the same."""
        task = app.send(FAIL, "cleanup", how="fatal")
        task.until("SUCCESS")
        found = eventually(
            lambda: everywhere(fleet, task), "the journal has its lines", until=lambda f: f.get("worker2")
        )
        assert found.keys() == {"worker2"}
        assert f"ERROR: Fatal error in {FAIL}: on purpose" in found["worker2"]


def test_no_argument_appears(app: Application, fleet: Fleet) -> None:
    """A8: sensitive data is kept out of the logs, whatever becomes of the task."""
    secret = f"secret-{uuid.uuid4().hex}"
    name = f"mail-{uuid.uuid4().hex}"
    sent = [
        app.echo("default", secret),
        app.echo("email", {"nested": [secret]}),
        app.send("taskapp.jobs.calculate", data=[secret]),
        app.send(SLEEP, "reports", seconds=secret),
        app.send(ECHO, "analytics", no_such_parameter=secret),
        app.send("afirgen_tasks.email.send_confirmation", fir_id=name, complainant=secret, summary=secret),
    ]
    app.send("no.such.task", "default", value=secret)
    for task in sent:
        task.until("SUCCESS", "FAILURE")

    def dropped() -> bool:
        lines = units.journal(fleet.host("worker1"), "-u 'celery-*'", "--grep='no.such.task'")
        return bool(lines)

    eventually(dropped, "the journal tells of the unknown task")
    for host in fleet.groups["workers"]:
        told = fleet.host(host).check_output(
            f"journalctl --no-pager --quiet --output=cat -u 'celery-*'; zcat -f {LOGS}/*.log*"
        )
        assert secret not in told


def test_rotations_lose_no_line_and_restart_nothing(app: Application, fleet: Fleet) -> None:
    """Rotations while processes write that come and go (ten tasks each), and many threads of one."""
    before = units.main_pids(fleet)
    places = {"cpu_intensive": "worker1", "email": "worker2"}
    sent: dict[str, list[str]] = {queue: [] for queue in places}

    def rotated_twice(host: str) -> bool:
        return ".log.2.gz" in fleet.host(host).check_output(f"ls {LOGS}")

    def rotate() -> None:
        for _ in range(30):  # a file that is still empty is not rotated
            time.sleep(1)
            units.on_all(
                places.values(), lambda name: fleet.host(name).check_output(f"logrotate -f {ROTATION}")
            )
            if all(map(rotated_twice, places.values())):
                return

    with ThreadPoolExecutor(1) as thread:
        rotating = thread.submit(rotate)
        while not rotating.done():
            for queue in places:
                sent[queue] += [app.echo(queue, number).id for number in range(8)]
            time.sleep(0.1)
        rotating.result()
    for queue in places:
        eventually(lambda q=queue: app.waiting(q) == 0, f"{queue} is empty", 120)  # type: ignore[misc]
    for ids in sent.values():
        Task(ids[-1], app).result()

    for queue, host in places.items():
        for pattern in ("Task started", "Task completed"):
            eventually(
                lambda h=host, p=pattern, q=queue: not_once(in_files(fleet, h, p), sent[q]),
                f"the files of {host} have one line '{pattern}' of every task",
                until=lambda found: not found,
            )
        assert rotated_twice(host)
    assert units.replaced(before, units.main_pids(fleet)) == set()


def not_once(lines: list[str], ids: list[str]) -> list[str]:
    """The ids that are not in exactly one of the lines."""
    counts = Counter(match[1] for line in lines if (match := re.search(r"task_id=(\S+)", line)))
    return [one for one in ids if counts[one] != 1]

"""A worker or Beat as systemd sees it."""

import contextlib
import re
import signal
import socket
import time
from pathlib import Path

import pytest
from celery.exceptions import TimeLimitExceeded

from integration.runtime.plain import VARIABLES, changed, with_route
from integration.support import PASSWORD, eventually
from unit.runtime.journal_reader import read

STUCK = """
import time
from celery.signals import worker_ready
from celery_fleet.service import watchdog
watchdog.LATE, watchdog.SUSPICIOUS_SILENCE, watchdog.LONGEST_SILENCE = 0.5, 0.5, 1

@worker_ready.connect(weak=False)
def get_stuck(sender, **_):
    sender.call_soon(time.sleep, 1000)
"""

JOURNAL = """
from celery_fleet.service import journal
journal.SOCKET = {path!r}
"""


def test_ready_status_and_stop(environment, producer, services):
    settings = environment()
    worker = services.worker(settings, concurrency=2).wait_ready()
    said = worker.notifications
    assert said.status == "0/2 busy, 0 done, 0 failed, queues: celery,email"
    tasks = producer(settings)
    with pytest.raises(ValueError, match="bad input"):
        tasks.fail.delay("x").get(timeout=60)
    assert tasks.add.delay(1, 2).get(timeout=60) == 3
    running = tasks.nap.delay(2)
    eventually(lambda: said.status == "1/2 busy, 1 done, 1 failed, queues: celery,email", what="the status")
    worker.process.send_signal(signal.SIGTERM)
    eventually(lambda: "STOPPING=1" in said.lines, what="STOPPING=1")
    assert said.status == "stopping, 1 tasks still running"
    assert worker.process.wait(60) == 0
    assert running.get(timeout=60) == 2
    assert said.count("READY=1") == 1


def test_ready_only_when_it_consumes(environment, producer, services, own_redis_server):
    services.server = own_redis_server
    worker = services.worker(environment())
    eventually(lambda: "waiting for the broker" in worker.notifications.status, what="the status")
    eventually(lambda: worker.notifications.count("WATCHDOG=1") >= 3, what="pings")
    assert "READY=1" not in worker.notifications.lines
    own_redis_server.start()
    worker.wait_ready()
    with own_redis_server.client() as client:
        reads = {"brpop", "blpop", "eval", "evalsha"}
        eventually(lambda: any(each["cmd"] in reads for each in client.client_list()), what="a read")

    # A worker that waits for its broker is alive, and goes on when it is back.
    own_redis_server.stop()
    eventually(lambda: "waiting for the broker" in worker.notifications.status, what="the status")
    pings = worker.notifications.count("WATCHDOG=1")
    eventually(lambda: worker.notifications.count("WATCHDOG=1") > pings + 5, what="pings")
    own_redis_server.start()
    eventually(lambda: "0/1 busy" in worker.notifications.status, what="the status")
    assert "Deprecation" not in worker.log


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_other_kinds_of_pool(pool, environment, producer, services):
    settings = environment()
    worker = services.worker(settings, pool=pool).wait_ready()
    assert producer(settings).add.delay(1, 2).get(timeout=60) == 3
    eventually(lambda: worker.notifications.status.startswith("0/1 busy, 1 done"), what="the status")
    worker.wait_log("INFO: Task completed")


def test_the_journal_finds_every_line_of_a_task(environment, producer, services, tmp_path):
    path = str(tmp_path / "journal")
    settings = environment(with_route("overrun", time_limit=2, soft_time_limit=1, retry={"max_retries": 0}))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(0.5)
        worker = services.worker(settings | {"INVOCATION_ID": "x"}, python=changed(JOURNAL.format(path=path)))
        worker.wait_ready()
        tasks = producer(settings)
        added, overran = tasks.add.delay(1, 2), tasks.overrun.delay()
        with pytest.raises(TimeLimitExceeded):
            overran.get(timeout=60)
        worker.stop()
        entries = []
        with contextlib.suppress(TimeoutError):
            while True:
                entries.append(read(sock.recv(65536)))

    def of(result):
        return [
            re.sub("duration=.* ", "", each["MESSAGE"])
            for each in entries
            if each.get("TASK_ID") == result.id
        ]

    assert of(added) == [
        f"INFO: Task started task_id={added.id} task_name=plainapp.add",
        "INFO: adding two numbers",
        f"INFO: Task completed task_id={added.id} state=SUCCESS",
    ]
    started, soft, *ended = of(overran)
    assert started == f"INFO: Task started task_id={overran.id} task_name=plainapp.overrun"
    assert soft.startswith("WARNING: Soft time limit (1s) exceeded")
    failed = f"ERROR: Task failed task_id={overran.id} exception=TimeLimitExceeded\n"
    assert [line.startswith(failed) for line in ended].count(True) == 1
    line = next(each for each in entries if each["MESSAGE"] == "INFO: adding two numbers")
    assert line["TASK_NAME"] == "plainapp.add"
    assert (line["QUEUE"], line["POOL"], line["RELEASE"], line["RETRIES"]) == ("celery", "default", "r1", "0")
    assert line["WORKER"].startswith("default@")
    assert line["PRIORITY"] == "6"
    assert "Task started" not in worker.output


def test_not_ready_when_a_queue_is_missing(environment, services):
    worker = services.worker(environment(queues="celery") | {"CELERY_FLEET_QUEUES": "celery"}, "-Q", "email")
    worker.wait_log("does not consume from celery")
    eventually(lambda: worker.notifications.status == "starting, queues held: email", what="the status")
    assert "READY=1" not in worker.notifications.lines


def test_no_ping_when_the_main_loop_is_stuck(environment, services):
    worker = services.worker(environment(), python=changed(STUCK)).wait_ready()
    eventually(lambda: "main loop stuck for 3 s" in worker.notifications.status, what="the verdict")
    pings = worker.notifications.count("WATCHDOG=1")
    time.sleep(1)
    assert worker.notifications.count("WATCHDOG=1") == pings
    worker.process.kill()


def test_beat_is_ready_when_it_schedules(environment, producer, services, record):
    entry = {"task": "mail.note", "schedule": 1, "args": ["tick"]}
    settings = environment({**VARIABLES, "celery_beat_schedule": {"note": entry}})
    services.worker(settings)
    beat = services.start(["beat", "--schedule=schedule", "-l", "info"], settings)
    beat.wait_ready()
    eventually(lambda: record.read_text().count("tick") >= 2, what="two ticks")
    assert beat.notifications.status == "1 entries"
    assert beat.notifications.count("WATCHDOG=1") >= 2
    beat.stop()


def test_the_password_is_nowhere_to_be_seen(environment, producer, services):
    settings = environment()
    worker = services.worker(settings).wait_ready()
    seen_by_children = producer(settings).environment.delay().get(timeout=60)
    report = services.start(["report"], settings)
    report.process.wait(60)
    shown = [worker.output, worker.log, seen_by_children, report.output, *worker.notifications.lines]
    shown.append(Path(f"/proc/{worker.process.pid}/environ").read_text())
    for secret in (PASSWORD, "s3cr%2Fet"):
        assert not any(secret in text for text in shown)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"CELERY_FLEET_APP": "nothere:app"}, "the app nothere:app cannot be imported: ModuleNotFoundError"),
        ({"CELERY_FLEET_APP": "plainapp:log"}, "plainapp:log is a Logger, not a Celery app"),
        ({"CELERY_FLEET_TOPOLOGY": "/nowhere.json"}, "/nowhere.json"),
        ({"CELERY_FLEET_STOP_TIMEOUT": "soon"}, "CELERY_FLEET_STOP_TIMEOUT=soon is no number of seconds"),
        ({"CELERY_FLEET_REDIS_PASSWORD_FILE": "/nowhere"}, "/nowhere cannot be read"),
    ],
)
def test_one_line_says_why_it_cannot_start(change, message, environment, services):
    service = services.worker(environment() | change)
    assert service.process.wait(60) == 1
    assert len(service.output.splitlines()) == 1
    assert service.output.startswith("celery-fleet: ")
    assert message in service.output

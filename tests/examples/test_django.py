"""examples/django: what the fleet promises holds for an app that nobody here wrote, and that knows nothing of it.

The scenario has converged twice before: what is counted here was to happen once.
"""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest
from testinfra.host import Host

from acceptance import units
from acceptance.application import Application
from acceptance.playbook import ALL, ROOT, Playbooks
from acceptance.waiting import eventually
from hosts import Fleet

DATA = "/var/lib/celery"
DEPLOY = "ansible/playbooks/deploy.yml"
SOON = 15
"""Seconds; a busy machine has them, a visibility timeout does not."""


def orders(host: Host, where: str = "1", columns: str = "state, attempts") -> list[list[Any]]:
    """Rows of the shop's table, read as any program could."""
    program = (
        f"import json, sqlite3; db = sqlite3.connect('file:{DATA}/bookshop.sqlite3?mode=ro', uri=True); "
        f"print(json.dumps(db.execute('select {columns} from orders_order where {where} order by id').fetchall()))"
    )
    found: list[list[Any]] = json.loads(
        host.check_output(f"runuser -u celery -- python3 -c {json.dumps(program)}")
    )
    return found


def place(host: Host, title: str) -> tuple[int, str]:
    """An order placed by the shop's own command: Django's ORM and `delay`. Its id, and its task's."""
    words = host.check_output(f"fleet-run python -m celery_fleet.run django place_order {title}").split()
    return int(words[0]), words[1]


def current(host: Host) -> str:
    return str(host.check_output("basename $(readlink /opt/fleet/current)"))


def deployments(host: Host) -> list[str]:
    return str(host.file("/var/lib/celery-fleet/deployments").content_string).splitlines()


def released(host: Host) -> list[str]:
    return str(host.file(f"{DATA}/released").content_string).splitlines()


# --- its tasks -----------------------------------------------------------------------------------------------------
def test_a_task_sent_by_the_projects_own_code_runs(host: Host, app: Application) -> None:
    order, task = place(host, "Moby-Dick")
    assert eventually(lambda: orders(host, f"id = {order}"), "it is paid", until=lambda o: o[0][0] == "paid")
    assert app.task(task).until("SUCCESS") == "SUCCESS"
    assert orders(host, f"id = {order}") == [["paid", 1]]


def test_its_own_retries_keep_their_way(host: Host, app: Application) -> None:
    """`self.retry` in its code: the third attempt succeeds; four failed ones are the end."""
    (patient, task), (never, lost) = place(host, "patience"), place(host, "never")
    assert app.task(task).until("SUCCESS", "FAILURE") == "SUCCESS"
    assert app.task(lost).until("SUCCESS", "FAILURE") == "FAILURE"
    assert orders(host, f"id in ({patient}, {never})") == [["paid", 3], ["placed", 4]]


def test_its_own_annotations_routes_and_schedule_hold(host: Host, app: Application, fleet: Fleet) -> None:
    """A soft limit of its own, a queue by its own route, a periodic task of its own."""
    assert app.send("orders.tasks.slow_report", seconds=20).until("SUCCESS", "FAILURE") == "SUCCESS"
    order, _ = place(host, "stocked")
    host.check_output(f"fleet-run python -m celery_fleet.run django restock {order} 0")
    entry = eventually(
        lambda: units.journal(host, "TASK_NAME=orders.tasks.restock"), "the journal tells of it"
    )[-1]
    assert entry["QUEUE"] == "stock"
    assert eventually(
        lambda: units.journal(host, "TASK_NAME=orders.tasks.cancel_stale"), "Beat starts the shop's own task"
    )


def test_the_journal_finds_a_task_by_its_id(host: Host, app: Application) -> None:
    _, task = place(host, "journal")
    app.task(task).until("SUCCESS")
    lines = eventually(
        lambda: units.journal(host, f"TASK_ID={task}"), "it succeeded", until=lambda found: len(found) >= 3
    )
    assert {line["TASK_NAME"] for line in lines} == {"orders.tasks.collect_payment"}
    assert {line["QUEUE"] for line in lines} == {"celery"}
    assert any("is paid" in line["MESSAGE"] for line in lines), (
        "what its own logger says is under its id, too"
    )


def test_the_host_has_a_queue_of_its_own(host: Host, app: Application, fleet: Fleet) -> None:
    """P1"""
    (name,) = fleet.names
    task = app.send("orders.tasks.ping", name)
    assert task.until("SUCCESS", "FAILURE") == "SUCCESS"
    (line, *_) = eventually(lambda: units.journal(host, f"TASK_ID={task.id}"), "the journal tells of it")
    assert (line["QUEUE"], line["_SYSTEMD_UNIT"]) == (name, units.worker(name))


# --- its accidents -------------------------------------------------------------------------------------------------
def test_a_killed_worker_gives_its_task_back_within_seconds(host: Host, app: Application) -> None:
    """F7"""
    order, _ = place(host, "killed")
    eventually(lambda: orders(host, f"id = {order}"), "it is paid", until=lambda o: o[0][0] == "paid")
    task = app.send("orders.tasks.restock", "stock", order_id=order, seconds=3)
    eventually(lambda: orders(host, f"id = {order}"), "it runs", until=lambda o: o[0][1] == 2)
    began = time.monotonic()
    host.check_output(f"kill -9 {units.main_pid(host, units.worker('stock'))}")
    eventually(lambda: orders(host, f"id = {order}"), "it runs again", until=lambda o: o[0][1] == 3)
    assert time.monotonic() - began < SOON
    assert task.until("SUCCESS", "FAILURE") == "SUCCESS"


def test_a_task_that_fails_is_a_dead_letter_with_its_arguments(host: Host, app: Application) -> None:
    order, task = place(host, "stolen")
    assert app.task(task).until("SUCCESS", "FAILURE") == "FAILURE"
    letter = eventually(
        lambda: json.loads(host.run(f"fleet dlq show {task} --json").stdout or "null"), "it is a dead letter"
    )
    assert (letter["name"], letter["reason"], letter["args"]) == (
        "orders.tasks.collect_payment",
        "failed",
        [order],
    )
    assert "CardStolenError" in letter["exception"]


# --- its deployments -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Variables of the project with one more migration."""
    source = tmp_path_factory.mktemp("django") / "bookshop"
    shutil.copytree(ROOT / "examples" / "django" / "project", source)
    (source / "src" / "orders" / "migrations" / "0002_order_note.py").write_text(
        "from django.db import migrations, models\n\n\n"
        "class Migration(migrations.Migration):\n"
        "    dependencies = [('orders', '0001_initial')]\n"
        "    operations = [migrations.AddField('order', 'note', models.TextField(default='', db_default=''))]\n"
    )
    return {"celery_app_source": str(source)}


class TestDeployment:
    def test_it_was_migrated_once(self, host: Host) -> None:
        release = current(host)
        assert deployments(host) == [f"{release} prepared", f"{release} finished"]
        assert released(host) == [release]
        listed = host.check_output("fleet-run django-admin showmigrations orders")
        assert "[X] 0001_initial" in listed

    def test_a_failed_migration_switches_nothing(
        self, host: Host, fleet: Fleet, playbooks: Playbooks, next_release: dict[str, Any]
    ) -> None:
        before, pids = current(host), units.main_pids(fleet)
        failing = {**next_release, "celery_pre_deploy": ["echo the disk is full; exit 3"]}
        run = playbooks.run(DEPLOY, overrides={ALL: failing}, fails=True)
        assert "the disk is full" in run.messages
        assert "Nothing was switched" in run.messages
        assert current(host) == before
        assert units.replaced(pids, units.main_pids(fleet)) == set()
        assert len(deployments(host)) == 2

    def test_the_next_run_tries_again_and_a_bad_health_task_fails_it(
        self, host: Host, playbooks: Playbooks, next_release: dict[str, Any]
    ) -> None:
        """The health task is one that wants arguments: it fails, in every queue."""
        before = current(host)
        broken = {**next_release, "celery_health_task": "orders.tasks.slow_report"}
        run = playbooks.run(DEPLOY, overrides={ALL: broken}, fails=True)
        assert "orders.tasks.slow_report in the queue celery: FAILURE" in run.messages
        assert "rollback.yml" in run.messages
        assert current(host) != before
        assert "note" in host.check_output(
            f"runuser -u celery -- python3 -c \"import sqlite3; print(sqlite3.connect('{DATA}/bookshop.sqlite3')"
            ".execute('pragma table_info(orders_order)').fetchall())\""
        )
        assert deployments(host)[2:] == [f"{current(host)} prepared"]
        assert released(host) == [before], "what comes after waits for its health"

    def test_it_is_finished_by_a_good_one_and_then_left_alone(
        self, host: Host, playbooks: Playbooks, next_release: dict[str, Any]
    ) -> None:
        told = playbooks.run(DEPLOY, "--check", overrides={ALL: next_release})
        assert [step.task for step in told.steps if step.result.get("changed")]
        assert len(deployments(host)) == 3, "a check runs no commands"
        playbooks.run(DEPLOY, overrides={ALL: next_release})
        assert deployments(host)[3:] == [f"{current(host)} finished"]
        assert released(host)[1:] == [current(host)]
        again = playbooks.run(DEPLOY, overrides={ALL: next_release})
        assert again.changed == {}
        assert len(released(host)) == 2

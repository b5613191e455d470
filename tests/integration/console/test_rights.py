"""All that the console reads and does, with the rights of its own Redis user and no more."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from kombu import pools

from celery_fleet.console import (
    alerts,
    audits,
    deadletters,
    metrics,
    overview,
    queues,
    schedules,
    workers,
)
from celery_fleet.console.auth import Actor
from celery_fleet.console.fleet import Fleet
from celery_fleet.console.models.dead_letters import DeadLetterFilter
from celery_fleet.console.settings import Settings
from celery_fleet.store.deadletters import letter_of
from celery_fleet.topology.document import topology_document
from integration.test_redis_acl import Broker

ANN = Actor("ann", "operator")
VARIABLES: dict[str, Any] = {
    "celery_app": "app:app",
    "celery_queues": {"celery": {}, "email": {}},
    "celery_task_routes": [],
    "celery_beat_schedule": {"tick": {"task": "app.tick", "schedule": 60}},
}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def fleet(broker: Broker, tmp_path: Path) -> Iterator[Fleet]:
    """As the user `console`."""
    (tmp_path / "topology.json").write_text(json.dumps(topology_document(VARIABLES)))
    (tmp_path / "password").write_text(broker.passwords["console"])
    fleet = Fleet(
        Settings.read(
            {
                "CELERY_FLEET_TOPOLOGY": str(tmp_path / "topology.json"),
                "CELERY_BROKER_URL": f"redis://console@127.0.0.1:{broker.port}/0",
                "CELERY_RESULT_BACKEND": f"redis://console@127.0.0.1:{broker.port}/1",
                "CELERY_FLEET_REDIS_PASSWORD_FILE": str(tmp_path / "password"),
            }
        )
    )
    yield fleet
    fleet.close()
    pools.reset()


def test_the_console_needs_no_more_rights_than_it_has(fleet: Fleet, broker: Broker) -> None:
    for name in ("a", "b"):
        fleet.app.send_task("app.run", [name], queue="celery", priority=5)
        with broker.as_user("admin") as admin:
            message = cast(bytes, admin.rpop(fleet.keys.queue("celery", 5)))
        assert fleet.letters.add(letter_of(message.decode(), reason="failed", queue="celery"))
    fleet.app.send_task("app.run", ["c"], queue="email")
    found = overview.overview(fleet)
    assert (found.counts.waiting, found.counts.dead) == (1, 2)
    assert found.redis.version
    overview.charts(fleet, 15)
    assert metrics.metrics(fleet)
    assert queues.queue(fleet, "email").tasks[0].name == "app.run"
    assert not alerts.alerts(fleet).available
    for act in (queues.pause, queues.resume):
        assert act(fleet, ANN, "email").changed
    everything = DeadLetterFilter()
    letters = deadletters.listing(fleet, everything).failed_tasks
    deadletters.retry(fleet, ANN, letters[0].task_id)
    deadletters.delete(fleet, ANN, letters[0].task_id)
    token = deadletters.preview(fleet, everything).token
    assert deadletters.bulk(fleet, ANN, "retry", everything, token).done == 1
    assert schedules.run_now(fleet, ANN, "tick", schedules.schedules(fleet).schedules[0].token).task_id
    assert workers.all_workers(fleet) == []
    assert len(audits.entries(fleet).entries) == 6
    assert broker.refused() == []

"""A8: sensitive arguments are nowhere but in the message: index, dead letters, log, events; a retry has them unchanged."""

import json
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from celery_fleet.store.discreet import discreet
from celery_fleet.store.retrying import retry
from celery_fleet.topology.discretion import HIDDEN, Discretion
from integration.store.conftest import VARIABLES, Fleet
from integration.support import Installed, Services, eventually
from unit.runtime.topologies import make

APPS = Path(__file__).parent / "apps"
MARKED = {
    **VARIABLES,
    "celery_task_routes": [{"task": "secretive.sealed", "queue": "other", "sensitive": True}],
}


class Foreign(Fleet):
    """Sends as a program that knows nothing of the fleet."""

    def send(self, name: str, args: list[Any], kwargs: dict[str, Any], queue: str = "celery") -> str:
        task_id = str(uuid.uuid4())
        with self.app.connection_for_write() as connection:
            headers = {"lang": "py", "task": name, "id": task_id, "root_id": task_id, "retries": 0}
            connection.Producer().publish(
                [args, kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}],
                routing_key=queue,
                exchange="",
                headers={**headers, "argsrepr": repr(tuple(args)), "kwargsrepr": repr(kwargs)},
                serializer="json",
            )
        return task_id


def everything(fleet: Fleet) -> str:
    """All that the fleet's own database has, without the messages of dead letters."""
    found = []
    for key in fleet.client.scan_iter():
        kind = fleet.client.type(key)
        if kind == b"hash":
            entries = fleet.client.hgetall(key)
            entries.pop(b"message", None)
            found.append(repr(entries))
        elif kind == b"string":
            found.append(repr(fleet.client.get(key)))
        elif kind == b"zset":
            found.append(repr(fleet.client.zrange(key, 0, -1)))
        elif kind == b"stream":
            found.append(repr(fleet.client.xrange(key)))
    return "\n".join(found)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_sensitive_arguments(pool: str, services: Services, record: Path, installed: Installed) -> None:
    secret = f"s3cret-{uuid.uuid4().hex}"
    environment = {
        **services.environment("secretive:app", MARKED, APPS, "celery,other"),
        "RECORD": str(record),
    }
    fleet = Foreign(installed("secretive", APPS, environment))
    events: list[dict[str, Any]] = []
    calls: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
        "by name": ("secretive.login", ["me"], {"password": secret}),
        "by place": ("secretive.login", ["me", secret], {}),
        "nested": ("secretive.twice", ["me"], {"data": [{"apiKey": secret}]}),
        "marked": ("secretive.sealed", [[secret], 17], {}),
        "unknown": ("secretive.nobody", [{"client_secret": secret}], {"password": secret}),
    }
    worker = services.worker(environment, "--task-events", pool=pool, concurrency=1).wait_ready()
    with fleet.app.connection_for_read() as connection:
        receiver = fleet.app.events.Receiver(connection, handlers={"*": events.append})
        thread = threading.Thread(target=lambda: list(receiver.itercapture(wakeup=False)), daemon=True)
        thread.start()
        own = {key: fleet.app.send_task(name, args, kwargs).id for key, (name, args, kwargs) in calls.items()}
        foreign = {
            key: fleet.send(*call, queue="other" if key == "marked" else "celery")
            for key, call in calls.items()
        }
        sent = [*own.values(), *foreign.values()]
        eventually(lambda: fleet.letters.count() == len(sent), 60, "all dead letters")
        eventually(lambda: sum(each["type"] == "task-failed" for each in events) >= 4, 30, "events")
        receiver.should_stop = True
        thread.join(10)
    again = retry(fleet.app, fleet.letters, own["by name"], "tester")
    eventually(lambda: fleet.letters.get(again), 60, "it has failed again")
    worker.stop()

    rules = Discretion(make(**MARKED | {"celery_app": "secretive:app"}))
    for task_id in [*sent, again]:
        letter = fleet.letters.get(task_id)
        assert letter is not None
        body = json.loads(letter.message)["body"]
        assert body != HIDDEN, "the message is whole"
        names = ("user", "password") if letter.name == "secretive.login" else ()
        assert secret not in repr(discreet(letter, rules, names))
        assert body not in repr(discreet(letter, rules, names))
    assert fleet.letters.get(again).kwargs == {"password": HIDDEN}
    assert secret not in everything(fleet)
    text = worker.output + worker.log
    assert secret not in text
    for shown in ("logging in me with ***", "me: *** is wrong", "Task retry scheduled"):
        assert shown in text, shown
    assert secret not in "".join(json.dumps(event) for event in events)

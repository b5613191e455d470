"""The store is away while the broker is there: nothing is lost, and nothing waits for it."""

import time

import pytest
import redis

from integration.support import PASSWORD, USER, eventually

PATIENCE = 60


@pytest.fixture
def settings(environment, own_redis_server):
    return {**environment(), "CELERY_FLEET_STATE_URL": own_redis_server.url(2)}


def unacknowledged(services):
    with services.server.client() as client:
        return sum(client.hlen(key) for key in client.scan_iter("unacked:*"))


def test_dead_letters_wait_for_the_store(settings, services, fleet_of, own_redis_server):
    fleet = fleet_of(settings)
    worker = services.worker(settings, concurrency=2).wait_ready()
    failed = fleet.tasks.fail.delay("boom")
    with pytest.raises(ValueError, match="boom"):
        failed.get(timeout=PATIENCE)
    # Work goes on, and soon.
    begun = time.monotonic()
    good = [fleet.tasks.good.delay(number) for number in range(20)]
    assert [result.get(timeout=PATIENCE) for result in good] == [1] * 20
    assert time.monotonic() - begun < 30
    assert unacknowledged(services) == 1
    worker.wait_log("What becomes of tasks cannot be recorded")

    own_redis_server.start()
    eventually(lambda: fleet.letters.count() == 1, PATIENCE, "the letter")
    assert fleet.letters.get(failed.id).error == "boom"
    eventually(lambda: unacknowledged(services) == 0, PATIENCE, "the acknowledgement")
    eventually(lambda: fleet.index.count(state="SUCCESS") == 20, PATIENCE, "the records")

    # What a stopping worker holds is delivered again.
    own_redis_server.stop()
    second = fleet.tasks.fail.delay("bang")
    with pytest.raises(ValueError, match="bang"):
        second.get(timeout=PATIENCE)
    worker.stop(patience=PATIENCE)
    own_redis_server.start()
    services.worker(settings, concurrency=2).wait_ready()
    eventually(lambda: fleet.letters.count() == 2, PATIENCE, "the second letter")
    assert fleet.letters.get(second.id).error == "bang"
    eventually(lambda: unacknowledged(services) == 0, PATIENCE, "the acknowledgement")


def test_bad_messages_wait_for_the_store(settings, services, fleet_of, own_redis_server):
    fleet = fleet_of(settings)
    services.worker(settings, concurrency=2).wait_ready()
    unknown = fleet.app.send_task("endings.nobody")
    assert fleet.tasks.good.delay().get(timeout=PATIENCE) == 1
    eventually(lambda: unacknowledged(services) == 1, PATIENCE, "only the bad one")
    own_redis_server.start()
    eventually(lambda: fleet.letters.get(unknown.id), PATIENCE, "the letter")
    eventually(lambda: unacknowledged(services) == 0, PATIENCE, "the acknowledgement")


def test_the_state_is_where_its_url_says(settings, fleet_of, own_redis_server):
    fleet = fleet_of(settings)
    own_redis_server.start()
    fleet.client.set("fleet:x", "1")
    with redis.Redis(port=own_redis_server.port, db=2, username=USER, password=PASSWORD) as client:
        assert client.get("fleet:x") == b"1"

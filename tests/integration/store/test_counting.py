"""The figures of real workers, through deaths and restarts."""

from celery_fleet.store.figures import Figures
from integration.support import eventually


def test_figures_are_true_though_workers_are_killed(environment, services, fleet_of, record):
    settings = environment()
    fleet = fleet_of(settings)
    figures = Figures(fleet.client)
    worker = services.worker(settings, concurrency=2).wait_ready()
    for number in range(20):
        fleet.tasks.good.delay(number)
    for _ in range(3):
        fleet.tasks.fail.delay("no")
    fleet.tasks.exhaust.delay()  # tried twice
    fleet.tasks.good.apply_async(expires=-1)
    eventually(lambda: figures.totals().failed == 4, what="all failures")
    eventually(lambda: figures.totals().succeeded == 20, what="all successes")

    sent = [fleet.tasks.sleep.delay(1.5) for _ in range(4)]
    eventually(lambda: record.read_text().count("started") >= 2, what="two long tasks")
    worker.kill()
    services.worker({**settings, "CELERY_FLEET_RELEASE": "r2"}, concurrency=4).wait_ready()
    for result in sent:
        result.get(timeout=60)
    eventually(lambda: figures.totals().succeeded == 24, what="all successes")

    totals = figures.totals()
    # What was not yet acknowledged when its worker was killed ran, failed and was retried again.
    again = sum(each.log.count("Task retry scheduled") for each in services.running)
    assert (totals.received, totals.failed, totals.retried, totals.revoked) == (29, 4, again, 1)
    assert 6 <= totals.runtime < 15
    assert totals.waits >= 28
    names = figures.by_name()
    assert (names["endings.good"].succeeded, names["endings.good"].revoked) == (20, 1)
    assert names["endings.exhaust"].retried == again >= 1
    assert names["endings.fail"].errors == {"ValueError": 3}
    assert names["endings.sleep"].received == {"normal": 4}
    assert sum(names["endings.sleep"].received.values()) == names["endings.sleep"].succeeded == 4
    assert {error: count for (_, error), count in figures.worker_errors().items()} == {
        "ValueError": 3,
        "KeyError": 1,
    }
    assert figures.window(600) == totals


def test_two_workers_count_as_one_fleet(environment, services, fleet_of):
    settings = environment()
    fleet = fleet_of(settings)
    figures = Figures(fleet.client)
    for name in ("first", "second"):
        own = {**settings, "CELERY_FLEET_POOL": name}
        services.worker(own, "-n", f"{name}@%h", pool="threads", concurrency=4).wait_ready()
    for number in range(200):
        fleet.tasks.good.delay(number)
    eventually(lambda: figures.totals().succeeded == 200, what="all successes")
    assert figures.totals().received == figures.totals().waits == 200
    assert {name.partition("@")[0] for name in (each.worker for each in fleet.index.search(limit=500).records)} == {
        "first", "second",
    }  # fmt: skip

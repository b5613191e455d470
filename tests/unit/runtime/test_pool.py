"""The kind of pool that the environment names: F5."""

import pytest

from celery_fleet.policy.pool import command_with_pool

GEVENT = {"CELERY_WORKER_POOL": "gevent"}
CELERY = ["python", "/opt/bin/celery", "-A", "celery_fleet.app"]


@pytest.mark.parametrize(
    "start",
    [
        CELERY,
        ["python", "/opt/bin/celery-fleet", "-A", "celery_fleet.app"],
        ["python3", "-m", "celery", "-A", "celery_fleet.app"],
        ["python3", "-m", "celery_fleet", "-A", "celery_fleet.app"],
    ],
)
def test_f5_gevent_from_the_environment_is_told_in_time(start):
    assert command_with_pool([*start, "worker", "-l", "info"], GEVENT) == [
        *(*start, "worker", "-l", "info"),
        "--pool=gevent",
    ]


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        ([*CELERY, "worker"], {}),
        ([*CELERY, "worker"], {"CELERY_WORKER_POOL": "threads"}),
        ([*CELERY, "worker", "--pool=gevent"], GEVENT),
        ([*CELERY, "worker", "-P", "prefork"], GEVENT),
        ([*CELERY, "beat"], GEVENT),
        (["python", "/opt/bin/gunicorn", "worker"], GEVENT),
        (["python", "-m", "gunicorn", "worker"], GEVENT),
        (["python"], GEVENT),
    ],
)
def test_other_commands_stay_as_they_are(command, variables):
    assert command_with_pool(command, variables) is None

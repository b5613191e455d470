"""`python -m celery_fleet.trial` and `python -m celery_fleet.run`, against a real worker."""

import subprocess
import sys

import pytest

from integration.runtime.plain import VARIABLES

PATIENCE = 60


def module(environment, *arguments):
    """A module in the fleet's environment, as `fleet-run python -m` runs it."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def settings(environment, services):
    """The environment of a worker that runs, for the queue `celery` alone."""
    settings = environment(VARIABLES, "celery")
    services.worker(settings).wait_ready()
    return settings


def test_a_task_that_succeeds_in_time_is_told(settings):
    run = module(settings, "celery_fleet.trial", "plainapp.environment", "--queue=celery")
    assert (run.returncode, run.stdout) == (0, "plainapp.environment succeeded in celery\n"), run.stderr


def test_what_fails_is_told_for_each_queue(settings):
    """`add` wants arguments; nobody consumes `email`."""
    run = module(
        settings, "celery_fleet.trial", "plainapp.add", "--queue=celery", "--queue=email", "--timeout=2"
    )
    assert run.returncode == 1
    assert "plainapp.add in the queue celery: FAILURE: TypeError" in run.stderr
    assert "plainapp.add in the queue email: nobody took it within 2 s" in run.stderr


def test_a_task_that_there_is_not_is_told_at_once(settings):
    run = module(settings, "celery_fleet.trial", "plainapp.other", "--queue=celery")
    assert (run.returncode, run.stderr) == (2, "the app has no task plainapp.other\n")


def test_a_module_sends_tasks_by_its_own_app_within_the_fleet(settings, tmp_path):
    """Its own app has no password, which is in a file: without the fleet, Redis would refuse it."""
    (tmp_path / "shop.py").write_text(
        "import sys, plainapp\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv[1:], plainapp.add.delay(2, 3).get(timeout=60))\n"
    )
    settings = {**settings, "PYTHONPATH": f"{settings['PYTHONPATH']}:{tmp_path}"}
    run = module(settings, "celery_fleet.run", "shop", "--verbose")
    assert (run.returncode, run.stdout) == (0, "['--verbose'] 5\n"), run.stderr
    assert module(settings, "celery_fleet.run").returncode == 1

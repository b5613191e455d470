"""The field tables and the public defaults."""

import subprocess
import sys

import celery_fleet.topology as topology
from celery_fleet.topology import DEFAULTS, POOL_DEFAULTS, QUEUE_DEFAULTS, RETRY_DEFAULTS
from celery_fleet.topology.variables import POOL, QUEUE, RETRY, VARIABLES, read_variables


def test_defaults_are_valid() -> None:
    values, problems = read_variables({**DEFAULTS, "celery_app": "a:b"})
    assert problems == []
    assert set(values) == set(VARIABLES)


def test_only_what_is_required_has_no_default() -> None:
    assert set(VARIABLES) - set(DEFAULTS) == {"celery_app"}
    assert set(POOL) - set(POOL_DEFAULTS) == {"queues"}
    assert set(QUEUE) - set(QUEUE_DEFAULTS) == {"time_limit", "soft_time_limit", "retry", "max_deliveries"}
    assert set(RETRY) == set(RETRY_DEFAULTS)


def test_reading_twice_changes_nothing() -> None:
    values, _ = read_variables({**DEFAULTS, "celery_app": "a:b"})
    again, problems = read_variables(values)
    assert (again, problems) == (values, [])


def test_all_public_names_exist() -> None:
    assert all(hasattr(topology, name) for name in topology.__all__)


def test_topology_needs_the_standard_library_alone() -> None:
    script = (
        "import sys, celery_fleet.topology;"
        "allowed = sys.stdlib_module_names | {'celery_fleet', '__main__'};"
        "print({name.partition('.')[0] for name in set(sys.modules) - before} - allowed)"
    )
    source = topology.__path__[0].rsplit("/", 2)[0]
    command = [
        sys.executable,
        "-I",
        "-c",
        f"import sys; sys.path.insert(0, {source!r}); before = set(sys.modules); {script}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"

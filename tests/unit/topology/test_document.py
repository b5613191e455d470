"""The topology file says everything resolved, and is read back as what was written."""

import copy
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_fleet.topology import (
    BeatEntry,
    InvalidTopology,
    RetryPolicy,
    TaskSettings,
    Topology,
    load_topology,
    read_document,
    topology_document,
)
from celery_fleet.topology.variables import SENSITIVE_ARGUMENTS
from unit.topology.fleets import variables
from unit.topology.garbage import JSON, paths

RETRY = {
    "max_retries": 3,
    "delay": 10,
    "backoff": 2.0,
    "max_delay": 600,
    "jitter": True,
    "exceptions": ["ConnectionError", "TimeoutError"],
    "max_age": 86400,
    "queue": None,
}


def load(tmp_path: Path, content: str) -> Topology:
    path = tmp_path / "topology.json"
    path.write_text(content)
    return load_topology(path)


def test_document_is_fully_resolved() -> None:
    assert topology_document(variables()) == {
        "version": 1,
        "app": "shop.app:app",
        "default_queue": "celery",
        "queues": {
            "celery": {
                "priority": 5,
                "urgency": "standard",
                "time_limit": 1800,
                "soft_time_limit": 1500,
                "retry": RETRY,
                "max_deliveries": 4,
                "sensitive": False,
            },
            "email": {
                "priority": 3,
                "urgency": "urgent",
                "time_limit": 60,
                "soft_time_limit": 50,
                "retry": RETRY,
                "max_deliveries": 4,
                "sensitive": False,
            },
            "bulk": {
                "priority": 5,
                "urgency": "standard",
                "time_limit": 1800,
                "soft_time_limit": 1500,
                "retry": {**RETRY, "max_retries": "forever", "max_age": None},
                "max_deliveries": 4,
                "sensitive": False,
            },
        },
        "routes": [
            {
                "task": "shop.email.urgent",
                "queue": "email",
                "priority": 9,
                "time_limit": 60,
                "soft_time_limit": 50,
                "retry": RETRY,
                "max_deliveries": 4,
                "sensitive": False,
            },
            {
                "task": "shop.email.*",
                "queue": "email",
                "priority": 3,
                "time_limit": 40,
                "soft_time_limit": 30,
                "retry": RETRY,
                "max_deliveries": 4,
                "sensitive": False,
            },
            {
                "task": "shop.report",
                "queue": "bulk",
                "priority": 5,
                "time_limit": 1800,
                "soft_time_limit": 1500,
                "retry": {**RETRY, "max_retries": "forever", "max_age": None},
                "max_deliveries": 4,
                "sensitive": False,
            },
        ],
        "beat": {
            "clean": {"task": "shop.clean", "schedule": 300, "args": [], "kwargs": {}, "queue": None},
            "report": {
                "task": "shop.report",
                "schedule": "0 6 * * mon-fri",
                "args": [1],
                "kwargs": {},
                "queue": "bulk",
            },
        },
        "delivery": "atomic",
        "recovery_timeout": 60,
        "dead_letter_limit": 10000,
        "dead_letter_age": 30 * 86400,
        "task_index_limit": 100000,
        "sensitive_arguments": list(SENSITIVE_ARGUMENTS),
        "task_types": {},
    }


def test_document_of_the_least_inventory() -> None:
    document = topology_document({"celery_app": "proj.celery:app"})
    assert list(document["queues"]) == ["celery"]
    assert document["queues"]["celery"]["retry"] == {**RETRY, "delay": 60}


def test_document_of_bad_variables_is_refused() -> None:
    with pytest.raises(InvalidTopology, match="celery_default_queue") as caught:
        topology_document(variables(celery_default_queue="other", celery_time_limit="long"))
    assert len(caught.value.problems) == 2


def test_route_inherits_retries_key_by_key() -> None:
    routes = [{"task": "x", "queue": "bulk", "retry": {"delay": 20}}]
    retry = topology_document(variables(celery_task_routes=routes))["routes"][0]["retry"]
    assert (retry["delay"], retry["max_retries"], retry["max_age"]) == (20, "forever", None)


def test_null_takes_an_inherited_soft_limit_away() -> None:
    routes = [{"task": "x", "queue": "email", "soft_time_limit": None}]
    assert topology_document(variables(celery_task_routes=routes))["routes"][0]["soft_time_limit"] is None


def test_topology_is_loaded(tmp_path: Path) -> None:
    topology = load(tmp_path, json.dumps(topology_document(variables())))
    retry = RetryPolicy(
        max_retries=3,
        delay=10,
        backoff=2.0,
        max_delay=600,
        jitter=True,
        exceptions=("ConnectionError", "TimeoutError"),
        max_age=86400,
    )
    assert topology.app == "shop.app:app"
    assert topology.queues["email"].urgency == "urgent"
    assert topology.settings_for("shop.email.urgent") == TaskSettings("email", 9, 60, 50, retry)
    assert topology.settings_for("shop.email.weekly") == TaskSettings("email", 3, 40, 30, retry)
    assert topology.settings_for("other.task") == TaskSettings("celery", 5, 1800, 1500, retry)
    assert topology.settings_for("Shop.report").queue == "celery"
    assert topology.queue_for("shop.report").name == "bulk"
    assert topology.queue_for("shop.report").settings.retry.max_retries is None
    assert topology.beat["report"] == BeatEntry("report", "shop.report", "0 6 * * mon-fri", (1,), {}, "bulk")
    assert topology.longest_limit(["email"]) == 60
    assert topology.longest_limit([]) == 0


GOOD = json.dumps(topology_document(variables()))


def changed(*path: str | int, to: Any) -> str:
    document = json.loads(GOOD)
    here = document
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["not JSON"]),
        ("{", ["not JSON"]),
        ("[]", ["an empty list is not a topology"]),
        ('{"version": NaN}', ["not JSON", "NaN"]),
        ("[" * 100_000, ["not JSON"]),
        ("{}", ["version: null is not a version"]),
        (changed("version", to=2), ["2 is not a version", "version 1"]),
        (changed("quues", to={}), ["quues", "did you mean queues?"]),
        (changed("app", to=None), ["app: null is not an app"]),
        (changed("queues", "email", "priority", to=11), ["queues.email.priority: 11 is not a priority"]),
        (changed("queues", "email", "retry", "backof", to=1), ["queues.email.retry.backof", "backoff?"]),
        (changed("routes", 0, "queue", to="x"), ["routes[0].queue", "'x' is not defined"]),
        (changed("default_queue", to="x"), ["default_queue: the queue 'x' is not defined"]),
        (changed("beat", "clean", "schedule", to="* * *"), ["beat.clean.schedule", "3 fields"]),
        ('{"version": 1}', ["app: it has no app", "queues: it has no queues", "12 problems"]),
    ],
)
def test_bad_file_is_told_with_its_name(tmp_path: Path, content: str, words: list[str]) -> None:
    with pytest.raises(InvalidTopology) as caught:
        load(tmp_path, content)
    for word in [*words, "topology.json"]:
        assert word in str(caught.value)


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidTopology, match="No such file"):
        load_topology(tmp_path / "none.json")


NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
SECONDS = st.integers(1, 10**6)


@st.composite
def works(draw: st.DrawFn) -> dict[str, Any]:
    """Valid fleet-wide variables."""

    def policy() -> dict[str, Any]:
        delay = draw(st.integers(0, 1000))
        return draw(
            st.fixed_dictionaries(
                {"delay": st.just(delay), "max_delay": st.integers(1000, 10**6), "max_age": st.none()},
                optional={
                    "max_retries": st.integers(0, 99) | st.just("forever"),
                    "backoff": st.floats(1, 10),
                    "jitter": st.booleans(),
                    "exceptions": st.lists(st.sampled_from(["OSError", "a.B"]), unique=True),
                },
            )
        )

    def limits() -> dict[str, Any]:
        soft = draw(SECONDS)
        return {
            "soft_time_limit": draw(st.sampled_from([soft, None])),
            "time_limit": soft + draw(SECONDS),
            "priority": draw(st.integers(1, 10)),
            "retry": policy(),
        }

    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    tasks = draw(st.lists(NAMES, max_size=4, unique=True))
    return {
        "celery_app": "a.b:c",
        "celery_queues": {name: draw(st.sampled_from([None, limits()])) for name in names},
        "celery_default_queue": draw(st.sampled_from(names)),
        "celery_task_routes": [
            {"task": task, "queue": draw(st.sampled_from(names)), **limits()} for task in tasks
        ],
        "celery_beat_schedule": {
            task: {
                "task": task,
                "schedule": draw(SECONDS | st.just("*/5  * * * *")),
                "kwargs": draw(
                    st.dictionaries(st.text(max_size=3), st.none() | st.text(max_size=3) | SECONDS)
                ),
            }
            for task in tasks
        },
        "celery_task_types": {task: f"app.{task}" for task in tasks},
    }


@given(works())
@settings(max_examples=50)
def test_document_survives_json_and_names_every_task_the_same(work: dict[str, Any]) -> None:
    document = topology_document(work)
    topology = read_document(json.loads(json.dumps(document)))
    assert list(topology.queues) == list(work["celery_queues"])
    for route in work["celery_task_routes"]:
        settings = topology.settings_for(route["task"])
        assert (settings.queue, settings.time_limit, settings.priority) == (
            route["queue"],
            route["time_limit"],
            route["priority"],
        )
    again = topology_document(
        {
            "celery_app": document["app"],
            "celery_default_queue": document["default_queue"],
            "celery_queues": document["queues"],
            "celery_task_routes": document["routes"],
            "celery_beat_schedule": document["beat"],
            "celery_task_types": document["task_types"],
        }
    )
    assert again == document


DOCUMENT = topology_document(variables())


@given(st.sampled_from(paths(DOCUMENT)[1:]), JSON)
def test_garbage_anywhere_in_a_document_is_told(path: tuple[Any, ...], garbage: Any) -> None:
    """A host's file that somebody edited: it is read, or refused with its faults, and nothing else."""
    document = copy.deepcopy(DOCUMENT)
    here: Any = document
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = garbage
    with suppress(InvalidTopology):
        read_document(document)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_of_garbage_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "topology.json"
    path.write_bytes(content)
    with pytest.raises(InvalidTopology):
        load_topology(path)


@given(st.integers(0, 10_000))
def test_a_file_that_is_cut_off_is_told(length: int) -> None:
    text = json.dumps(DOCUMENT)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "topology.json"
        path.write_text(text[: length % len(text)])
        with pytest.raises(InvalidTopology):
            load_topology(path)

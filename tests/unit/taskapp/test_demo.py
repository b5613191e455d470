from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from taskapp import demo
from taskapp.demo import Case, Outcome, brief, cases, judge, plan, queue_of, table
from taskapp.settings import Settings
from taskapp.status import get_task_status


@pytest.fixture
def routed() -> Celery:
    app = Celery("routed", set_as_current=False, broker="memory://", backend="cache+memory://")
    app.conf.task_routes = {"afirgen_tasks.email.*": {"queue": "email"}}
    return app


def test_the_routes_of_the_app_decide(routed: Celery) -> None:
    assert queue_of(routed, Case("afirgen_tasks.email.send_confirmation", {})) == "email"
    assert queue_of(routed, Case("anything", {})) == "celery"
    assert queue_of(routed, Case("anything", {}, queue="monitor1")) == "monitor1"


def test_a_queue_without_a_task_of_its_own_gets_an_echo(routed: Celery) -> None:
    planned = plan(routed, [Case("a", {}), Case("afirgen_tasks.email.x", {})], {"celery", "email", "spare"})
    assert [(queue, case.task) for queue, case in planned] == [
        ("celery", "a"),
        ("email", "afirgen_tasks.email.x"),
        ("spare", "taskapp.diagnostics.echo"),
    ]
    assert planned[2][1].queue == "spare"


def test_tasks_that_need_an_endpoint_are_sent_when_there_is_one() -> None:
    names = {case.task for case in cases(Settings())}
    assert not names & {
        "taskapp.applications.check_health",
        "promgen.tasks.notify",
        "promgen.tasks.write_targets",
    }
    found = cases(
        Settings(
            demo_health_url="http://x", webhook_url="http://y", demo_servers="m1, m2", demo_targets="a:1,b:2"
        )
    )
    assert [case.queue for case in found if case.task == "promgen.tasks.write_targets"] == ["m1", "m2"]
    assert {case.task for case in found} >= {"taskapp.applications.check_health", "promgen.tasks.notify"}
    written = next(case for case in found if case.queue == "m1")
    assert written.kwargs["groups"] == [{"targets": ["a:1", "b:2"], "labels": {"server": "m1"}}]


@pytest.mark.parametrize(
    ("state", "value", "expected", "ok"),
    [
        ("SUCCESS", {"status": "success", "result": {"sent": True, "more": {}}}, "sent=True", True),
        ("SUCCESS", {"status": "error", "message": "no such thing"}, "no such thing", False),
        ("SUCCESS", 5, "5", True),
        ("FAILURE", ValueError("bad"), "bad", False),
        ("STARTED", None, "no result within 3 s", False),
    ],
)
def test_only_a_task_that_did_its_work_succeeded(state: str, value: Any, expected: str, ok: bool) -> None:
    result: Any = SimpleNamespace(
        state=state, result=value, worker="w1", ready=lambda: state in {"SUCCESS", "FAILURE"}
    )
    outcome = judge("email", "task", result, 3)
    assert (outcome.result, outcome.ok, outcome.worker) == (expected, ok, "w1")


def test_a_long_result_fits_on_a_line() -> None:
    assert brief("a\nb") == "a b"
    assert len(brief("x" * 500)) == 60


def test_the_table_is_aligned() -> None:
    lines = table(
        [Outcome("email", "t", "w", "SUCCESS", 0.1, "r"), Outcome("q", "long", "w", "ERROR", 10, "r")]
    ).split("\n")
    assert len({line.index("w") for line in lines}) == 1
    assert lines[0].split() == ["queue", "task", "worker", "state", "seconds", "result"]


@pytest.mark.parametrize(("state", "code"), [("SUCCESS", 0), ("FAILURE", 1), ("PENDING", 1)])
def test_the_exit_code_says_whether_all_succeeded(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = [Outcome("q", "t", "w", "SUCCESS", 1, ""), Outcome("q", "t", "w", state, 1, "")]
    monkeypatch.setattr(demo, "run", lambda *_: outcomes)
    assert demo.main() == code
    assert f"{2 - code} of 2 succeeded" in capsys.readouterr().out


def test_bad_settings_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TASKAPP_DEMO_TIMEOUT", "soon")
    assert demo.main() == 2
    assert "TASKAPP_DEMO_TIMEOUT" in capsys.readouterr().err


def test_the_status_of_a_task_by_its_id(routed: Celery) -> None:
    assert get_task_status("unknown", routed) == {"status": "PENDING", "result": None, "error": None}
    routed.backend.store_result("good", {"a": 1}, "SUCCESS")
    assert get_task_status("good", routed) == {"status": "SUCCESS", "result": {"a": 1}, "error": None}
    routed.backend.store_result("bad", ValueError("no"), "FAILURE")
    assert get_task_status("bad", routed) == {"status": "FAILURE", "result": None, "error": "no"}
    routed.backend.store_result("busy", {"done": 1}, "PROGRESS")
    assert get_task_status("busy", routed) == {"status": "PROGRESS", "result": None, "error": None}

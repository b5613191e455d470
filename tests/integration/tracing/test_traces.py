"""D4: one trace for all that follows from a request: its spans come from several processes, each with the right parent."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from consoles import ConsoleProcess
from integration.support import SRC, Service, eventually, free_port
from integration.tracing.conftest import APPS
from otlp import Backend, Site, Span, is_redis, tree

Environment = dict[str, str]
Pool = Callable[..., Service]
Start = Callable[[Environment], ConsoleProcess]

PYTHON_PATH = os.pathsep.join((str(SRC), str(APPS)))


def run(code: str, environment: Environment) -> str:
    """What a program of the fleet prints, which is told `app` and the tasks of its module."""
    done = subprocess.run(
        [sys.executable, "-c", f"from celery_fleet.app import app\nimport sys, tracedapp\n{code}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def refusal(environment: Environment) -> str:
    """What the fleet says to an environment that it cannot use."""
    done = subprocess.run(
        [sys.executable, "-c", "import celery_fleet.app"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    return done.stderr


def without_redis(spans: list[Span]) -> list[Span]:
    return [span for span in spans if not is_redis(span)]


@pytest.mark.parametrize("kind", ["prefork", "threads"])
def test_one_trace_from_the_request_to_the_retry_of_a_dead_letter(
    kind: str, environment: Environment, pool: Pool, console: Start, traces: Backend, web: Site
) -> None:
    pool(environment, pool=kind, concurrency=2)
    desk = console(environment).console

    desk.submit("tracedapp.order", number=7)
    letters = eventually(lambda: desk.get("/api/v1/dlq/failed-tasks")["failed_tasks"], what="the dead letter")
    answer = desk.post(f"/api/v1/dlq/failed-tasks/{letters[0]['task_id']}/retry")
    eventually(lambda: desk.state(answer["new_task_id"]) == "SUCCESS", what="the retry")

    (submitted,) = eventually(lambda: traces.named("POST /api/v1/tasks"), what="the request's span")
    trace = submitted.trace_id
    eventually(lambda: len(without_redis(traces.trace(trace))) >= 12, what="all spans")
    spans = without_redis(traces.trace(trace))
    assert tree(spans) == [
        [
            "SERVER POST /api/v1/tasks",
            [
                "PRODUCER send tracedapp.order",
                [
                    "CONSUMER run tracedapp.order",
                    ["CLIENT GET"],
                    [
                        "PRODUCER send tracedapp.deliver",
                        [
                            "CONSUMER run tracedapp.deliver !",
                            [
                                "PRODUCER send tracedapp.deliver",
                                ["CONSUMER run tracedapp.deliver !"],
                                [
                                    "PRODUCER send tracedapp.deliver",
                                    ["CONSUMER run tracedapp.deliver", ["CLIENT GET"], ["CLIENT GET"]],
                                ],
                            ],
                        ],
                    ],
                ],
            ],
        ]
    ]
    # Whoever tried the dead letter again did so in a trace of their own.
    (asked,) = [span for span in traces.spans if span.kind == "SERVER" and span.name.endswith("/retry")]
    assert asked.trace_id != trace
    assert [span.links for span in spans if span.links] == [(asked.span_id,)]

    attempts = [span for span in spans if span.name == "run tracedapp.deliver"]
    assert sorted(span.exceptions for span in attempts) == [(), ("ConnectionError",), ("ValueError",)]
    assert {span.service for span in spans if span.kind == "CONSUMER"} == {"celery-worker/default"}
    assert {span.service for span in spans if span.kind == "SERVER"} == {"celery-console"}
    worker = next(span for span in spans if span.kind == "CONSUMER").resource
    assert str(worker["service.instance.id"]).startswith("default@")
    assert worker["service.version"] == "r1"

    by_id = {span.span_id: span for span in spans}
    waits = [
        span.start - by_id[span.parent_id].end
        for span in spans
        if by_id.get(span.parent_id, span).kind == "PRODUCER" and span.kind == "CONSUMER"
    ]
    assert len(waits) == 4
    assert all(-0.05 < wait < 30 for wait in waits)

    # What is called gets the id of the very call.
    calls = {span.span_id for span in spans if span.kind == "CLIENT"}
    assert {path for path, _ in web.calls} == {"/requests", "/httpx", "/urllib"}
    assert {parent.split("-")[2] for _, parent in web.calls} == calls
    assert {parent.split("-")[1] for _, parent in web.calls} == {trace}

    # Commands to Redis: of the console, below what it did; not of the workers.
    commands = [span for span in traces.spans if is_redis(span)]
    assert {span.service for span in commands} == {"celery-console"}
    assert all(span.parent_id for span in commands)

    assert letters[0]["trace_id"] == trace
    assert desk.get(f"/api/v1/tasks/{answer['task_id']}")["trace_id"] == trace


def test_a_killed_attempt_has_its_span_and_is_the_parent_of_what_follows(
    environment: Environment, pool: Pool, traces: Backend
) -> None:
    pool({**environment, "DIE_AFTER": "1.5"})
    run("tracedapp.die.delay()", environment)

    eventually(lambda: len(traces.named("run tracedapp.note")) == 2, what="the end of it")
    eventually(lambda: len(traces.named("run tracedapp.die")) == 2, what="the spans of both attempts")
    (trace,) = {span.trace_id for span in traces.spans}
    note = ["PRODUCER send tracedapp.note", ["CONSUMER run tracedapp.note"]]
    again = ["PRODUCER send tracedapp.die", ["CONSUMER run tracedapp.die", note]]
    assert tree(traces.trace(trace)) == [
        ["PRODUCER send tracedapp.die", ["CONSUMER run tracedapp.die !", note, again]]
    ]
    assert traces.named("run tracedapp.die")[0].exceptions == ("WorkerLostError",)


def test_an_attempt_that_exceeds_its_hard_limit(
    environment: Environment, pool: Pool, traces: Backend
) -> None:
    pool(environment)
    run("tracedapp.hang.delay()", environment)

    eventually(lambda: len(traces.named("run tracedapp.hang")) == 2, what="both attempts")
    again = ["PRODUCER send tracedapp.hang", ["CONSUMER run tracedapp.hang"]]
    eventually(lambda: len(traces.named("send tracedapp.hang")) == 2, what="both sends")
    assert tree(traces.spans) == [["PRODUCER send tracedapp.hang", ["CONSUMER run tracedapp.hang !", again]]]
    first = traces.named("run tracedapp.hang")[0]
    assert first.exceptions == ("TimeLimitExceeded",)
    assert first.end - first.start > 1.9


def test_an_attempt_that_is_cancelled(environment: Environment, pool: Pool, traces: Backend) -> None:
    worker = pool(environment)
    sent = run("print(tracedapp.hang.apply_async(time_limit=50).id)", environment).strip()
    worker.wait_log("Task started")
    run(f"app.control.revoke('{sent}', terminate=True)", environment)
    (span,) = eventually(lambda: traces.named("run tracedapp.hang"), what="the span of the attempt")
    assert (span.failed, span.attributes["celery.state"]) == (False, "REVOKED")


def test_children_that_are_replaced_after_each_task_lose_nothing(
    environment: Environment, pool: Pool, traces: Backend
) -> None:
    pool(environment, "--max-tasks-per-child=1", concurrency=2)
    run("for number in range(8): tracedapp.note.delay(number)", environment)

    eventually(lambda: len(traces.named("run tracedapp.note")) == 8, what="the span of each")
    assert len({span.parent_id for span in traces.named("run tracedapp.note")}) == 8
    assert {span.span_id for span in traces.named("send tracedapp.note")} == {
        span.parent_id for span in traces.named("run tracedapp.note")
    }


def test_a_stop_sends_what_is_left(environment: Environment, pool: Pool, traces: Backend) -> None:
    slow = {**environment, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    worker = pool(slow, concurrency=2)
    run("[tracedapp.note.delay(number).get(timeout=30) for number in range(5)]", environment)
    assert not traces.named("run tracedapp.note")
    assert worker.stop() == 0
    assert len(traces.named("run tracedapp.note")) == 5


def test_a_pool_of_greenlets(environment: Environment, pool: Pool, traces: Backend) -> None:
    pool(environment, pool="gevent", concurrency=10)
    run("for number in range(5): tracedapp.order.delay(number)", environment)
    eventually(lambda: len(traces.named("run tracedapp.order")) == 5, what="the spans")
    roots = traces.named("send tracedapp.order")
    assert len({span.trace_id for span in roots}) == 5
    for root in roots:
        spans = traces.trace(root.trace_id)
        (order,) = [span for span in spans if span.name == "run tracedapp.order"]
        below = [span for span in spans if span.parent_id == order.span_id]
        assert [span.kind for span in below] == ["CLIENT", "PRODUCER"]


@pytest.fixture
def without_packages(untraced: Environment, tmp_path: Path) -> Environment:
    """As in a release for which traces are off: OpenTelemetry is not there. (redis-py looks for it, too.)"""
    for name in ("opentelemetry", "wrapt"):
        (tmp_path / "without" / name).mkdir(parents=True)
        (tmp_path / "without" / name / "__init__.py").write_text("raise ModuleNotFoundError(__name__)\n")
    return {**untraced, "PYTHONPATH": os.pathsep.join((str(tmp_path / "without"), untraced["PYTHONPATH"]))}


def test_off_it_costs_nothing_and_hands_on_what_others_began(
    without_packages: Environment, pool: Pool, traces: Backend
) -> None:
    worker = pool(without_packages)
    here = "[name for name in sys.modules if name.startswith(('opentelemetry', 'celery_fleet.tracing.'))]"
    loaded = run(f"print({here}, tracedapp.modules.delay().get(timeout=30))", without_packages)
    own = "['celery_fleet.tracing.context', 'celery_fleet.tracing.packages']"
    assert loaded == f"{own} {own}\n"
    receivers = run(
        "from celery import signals as s\n"
        "print([r for each in (s.task_prerun, s.task_postrun) for _, r in each.receivers if 'tracing' in repr(r)])\n"
        "print(type(app.amqp))",
        without_packages,
    )
    assert receivers == "[]\n<class 'celery.app.amqp.AMQP'>\n"

    # The task hands the context of whoever sent it on to what it sends itself.
    began = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    run(
        f"tracedapp.order.apply_async([1], headers={{'traceparent': '{began}', 'tracestate': 'a=b'}})",
        without_packages,
    )
    worker.wait_log("Task failed")
    code = (
        "from celery_fleet.store.deadletters import DeadLetters\n"
        "from celery_fleet.store.connection import state_client\n"
        "letters = DeadLetters(state_client(app), 100, 1000)\n"
        "print([(letter.name, letter.trace_id) for letter in letters.list().letters])"
    )
    assert run(code, without_packages) == "[('tracedapp.deliver', '0af7651916cd43dd8448eb211c80319c')]\n"
    assert not traces.spans


def test_a_release_without_the_packages_runs_without_traces(
    without_packages: Environment, pool: Pool
) -> None:
    worker = pool({**without_packages, "CELERY_FLEET_TRACING": "on"})
    assert "There will be no traces, this release is without OpenTelemetry" in worker.output


def test_a_dead_backend_does_not_disturb(environment: Environment, pool: Pool) -> None:
    away = {
        **environment,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5",
    }
    worker = pool(away, concurrency=2)
    began = time.monotonic()
    run("[each.get(timeout=30) for each in [tracedapp.note.delay(number) for number in range(200)]]", away)
    assert time.monotonic() - began < 20
    worker.wait_log("Traces are lost:")
    run("tracedapp.note.delay(1).get(timeout=30)", away)
    time.sleep(2)
    # Each of the processes said so once, though it has failed more often.
    assert worker.log.count("Traces are lost:") <= 3
    stopping = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - stopping < 10


def test_a_sleeping_backend_does_not_disturb(environment: Environment, pool: Pool, traces: Backend) -> None:
    traces.delay = 20
    environment["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
    worker = pool(environment)
    run(
        "[each.get(timeout=30) for each in [tracedapp.note.delay(number) for number in range(50)]]",
        environment,
    )
    stopping = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - stopping < 10


def test_none_of_the_traces_is_kept_when_the_ratio_is_zero(
    environment: Environment, pool: Pool, traces: Backend
) -> None:
    pool({**environment, "OTEL_TRACES_SAMPLER_ARG": "1"})
    run("tracedapp.note.delay(1).get(timeout=30)", {**environment, "OTEL_TRACES_SAMPLER_ARG": "0"})
    run("tracedapp.note.delay(2).get(timeout=30)", environment)
    eventually(lambda: traces.named("run tracedapp.note"), what="the second")
    assert len(traces.named("run tracedapp.note")) == 1


def test_the_backend_gets_the_headers_of_a_file(
    environment: Environment, traces: Backend, tmp_path: Path
) -> None:
    file = tmp_path / "headers"
    file.write_text("authorization=Bearer s3cret,x-scope=fleet\n")
    run("tracedapp.note.delay(1)", {**environment, "CELERY_FLEET_TRACING_HEADERS_FILE": str(file)})
    sent = {name.lower(): value for name, value in traces.requests[0].items()}
    assert (sent["authorization"], sent["x-scope"]) == ("Bearer s3cret", "fleet")


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"CELERY_FLEET_TRACING": "yes"}, "CELERY_FLEET_TRACING=yes is neither on nor off"),
        ({"OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG=2 is no number from 0 to 1"),
        ({"CELERY_FLEET_TRACING_HEADERS_FILE": "/nowhere"}, "the headers for traces cannot be read"),
    ],
)
def test_what_cannot_be_is_refused(variables: Environment, complaint: str, environment: Environment) -> None:
    assert re.fullmatch(f"celery-fleet: .*{complaint}.*\n", refusal({**environment, **variables}))

"""The app under a real worker: as it is, and under the fleet's runtime."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from celery.exceptions import TaskRevokedError

from integration.conftest import WorkerFactory
from integration.support import SRC, Services, eventually
from integration.taskapp.conftest import Peer, PlainWorker
from taskapp.status import get_task_status

LONG = {"events": 2000, "stations": 50, "samples": 500}
"""Parameters of a gather that takes about a minute."""


def demo(environment: dict[str, str], *queues: str) -> tuple[int, list[list[str]]]:
    """Run the demo; its exit code and its rows."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "taskapp.demo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr, done.stderr
    rows = [re.split(r"  +", line) for line in done.stdout.splitlines()[1:] if "  " in line]
    return done.returncode, rows


@pytest.mark.parametrize("plain_worker", [["-Q", "celery,spare"]], indirect=True)
def test_the_demo_runs_a_task_on_every_queue(plain_worker: PlainWorker, peer: Peer) -> None:
    peer.answers = {"/health": (200, b""), "/hook": (200, b"")}
    code, rows = demo(
        {
            **plain_worker.environment,
            "TASKAPP_DEMO_HEALTH_URL": f"{peer.url}/health",
            "TASKAPP_WEBHOOK_URL": f"{peer.url}/hook",
        }
    )
    assert code == 0, rows
    assert {row[0] for row in rows} == {"celery", "spare"}
    assert len(rows) == 11
    assert {row[3] for row in rows} == {"SUCCESS"}
    assert all(row[2].startswith("celery@") for row in rows)


def test_the_demo_fails_when_a_queue_has_no_worker(plain_worker: PlainWorker) -> None:
    code, rows = demo(
        {**plain_worker.environment, "TASKAPP_DEMO_SERVERS": "nobody", "TASKAPP_DEMO_TIMEOUT": "4"}
    )
    assert code == 1
    assert [row[3] for row in rows if row[0] == "nobody"] == ["PENDING", "PENDING"]
    assert "ERROR" not in {row[3] for row in rows}, "a slow machine may not have got round to the others"


def test_an_aborted_gather_ends_as_revoked_and_leaves_nothing(
    plain_worker: PlainWorker, state_dir: Path
) -> None:
    result = plain_worker.app.send_task("automated_gather_creation", kwargs=LONG)
    eventually(lambda: result.state == "PROGRESS", what="progress")
    assert result.info["total"] == 100_000
    plain_worker.abort(result.id)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=60)
    assert result.state == "REVOKED"
    assert list((state_dir / "gathers").iterdir()) == []
    assert f"Task revoked task_id={result.id} terminated=False" in plain_worker.log


@pytest.mark.parametrize(
    "plain_worker", [["-P", "threads"], ["-P", "solo"]], indirect=True, ids=["threads", "solo"]
)
def test_cancelling_works_where_nothing_can_be_terminated(plain_worker: PlainWorker, state_dir: Path) -> None:
    result = plain_worker.app.send_task("automated_gather_creation", kwargs=LONG)
    eventually(lambda: result.state == "PROGRESS", what="progress")
    plain_worker.abort(result.id)
    eventually(lambda: result.state == "REVOKED", what="REVOKED")
    assert list((state_dir / "gathers").iterdir()) == []


def test_a_terminated_gather_leaves_nothing(plain_worker: PlainWorker, state_dir: Path) -> None:
    result = plain_worker.app.send_task("automated_gather_creation", kwargs=LONG)
    eventually(lambda: result.state == "PROGRESS", what="progress")
    result.revoke(terminate=True, signal="SIGTERM")
    eventually(lambda: result.state == "REVOKED", what="REVOKED")
    eventually(lambda: not list((state_dir / "gathers").iterdir()), what="an empty directory")


def test_a_gather_cleans_up_at_its_soft_time_limit(plain_worker: PlainWorker, state_dir: Path) -> None:
    result = plain_worker.app.send_task(
        "automated_gather_creation", kwargs=LONG, soft_time_limit=2, time_limit=30
    )
    eventually(lambda: result.state == "RETRY", what="a retry")
    assert list((state_dir / "gathers").iterdir()) == []
    assert "Soft time limit: partial output of gather-" in plain_worker.log


def test_two_deliveries_of_a_gather_compute_it_once(plain_worker: PlainWorker) -> None:
    kwargs = {"events": 3}
    results = [plain_worker.app.send_task("automated_gather_creation", kwargs=kwargs) for _ in range(2)]
    assert [result.get(timeout=60)["result"]["computed"] for result in results] == [True, False]


def test_the_status_of_a_task_tells_result_or_error(plain_worker: PlainWorker) -> None:
    """A2, A6"""
    good = plain_worker.app.send_task("taskapp.jobs.calculate", args=[999])
    bad = plain_worker.app.send_task("taskapp.diagnostics.fail", kwargs={"message": "so it goes"})
    good.get(timeout=60)
    bad.get(timeout=60, propagate=False)
    status = get_task_status(good.id, plain_worker.app)
    assert (status["status"], status["result"]["result"]["factors"]) == ("SUCCESS", [3, 3, 3, 37])
    assert get_task_status(bad.id, plain_worker.app) == {
        "status": "FAILURE",
        "result": None,
        "error": "so it goes",
    }


def test_unknown_parameters_are_a_structured_error(plain_worker: PlainWorker) -> None:
    """A5, A8"""
    answer = plain_worker.app.send_task("taskapp.jobs.calculate", kwargs={"dat": 1}).get(timeout=60)
    assert answer["status"] == "error"
    assert "data: Missing required argument" in answer["message"]


def test_a_transient_error_is_retried_after_a_minute(plain_worker: PlainWorker) -> None:
    """A5"""
    result = plain_worker.app.send_task("taskapp.diagnostics.fail", kwargs={"how": "transient"})
    eventually(lambda: result.state == "RETRY", what="a retry")
    eventually(lambda: "Retry in 60s" in plain_worker.log, what="the line of the log")


def test_a_killed_child_is_a_loss_and_the_pool_goes_on(plain_worker: PlainWorker) -> None:
    lost = plain_worker.app.send_task("taskapp.diagnostics.fail", kwargs={"how": "killed"})
    eventually(lambda: lost.state == "FAILURE", what="the loss")
    assert (
        plain_worker.app.send_task("taskapp.diagnostics.echo", args=["alive"]).get(timeout=60)["status"]
        == "success"
    )


def test_a_health_check_of_all_reaches_every_application(plain_worker: PlainWorker, peer: Peer) -> None:
    """A2, A3"""
    peer.answers = {"/a": (200, b""), "/b": (500, b"")}
    for name in "ab":
        kwargs = {"application_id": name, "health_url": f"{peer.url}/{name}"}
        plain_worker.app.send_task("taskapp.applications.check_health", kwargs=kwargs).get(timeout=60)
    peer.requests.clear()
    tasks = plain_worker.app.send_task("taskapp.applications.check_all_active").get(timeout=60)["result"][
        "tasks"
    ]
    health = {
        name: plain_worker.app.AsyncResult(id_).get(timeout=60)["result"]["health"]
        for name, id_ in tasks.items()
    }
    assert health == {"a": "up", "b": "down"}
    assert sorted(path for _, path, _, _ in peer.requests) == ["/a", "/b"]


def test_the_same_app_runs_under_the_fleet(
    worker: WorkerFactory, services: Services, state_dir: Path
) -> None:
    """Not a line of the app changes: the topology sends its tasks to queues."""
    variables = {
        "celery_queues": {
            "celery": None,
            "email": None,
            "cpu_intensive": {"soft_time_limit": 2, "time_limit": 30},
        },
        "celery_default_queue": "celery",
        "celery_task_routes": [
            {"task": "afirgen_tasks.email.*", "queue": "email"},
            {"task": "automated_gather_creation", "queue": "cpu_intensive"},
        ],
        "celery_worker_pools": {"default": {"queues": ["celery", "email", "cpu_intensive"]}},
    }
    queues = "celery,email,cpu_intensive"
    extra = {"TASKAPP_STATE_DIR": str(state_dir), "TASKAPP_CELERY": "celery_fleet.app:app"}
    worker("taskapp.app:app", variables, pythonpath=SRC, queues=queues, extra=extra)
    environment = services.environment("taskapp.app:app", variables, SRC, queues) | extra
    code, rows = demo(environment)
    assert code == 0, rows
    where = {row[1]: row[0] for row in rows}
    assert where["afirgen_tasks.email.send_confirmation"] == "email"
    assert where["automated_gather_creation"] == "cpu_intensive"
    assert where["taskapp.jobs.process"] == "celery"

"""What holds for the package as a whole."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from celery import Celery
from celery.app.defaults import SETTING_KEYS

import taskapp
from taskapp.app import app
from taskapp.operation import Operation

SOURCE = Path(taskapp.__file__).parent

TASKS = {
    "afirgen_tasks.analytics.update_dashboard",
    "afirgen_tasks.cleanup.archive_old_records",
    "afirgen_tasks.email.send_confirmation",
    "afirgen_tasks.reports.generate_pdf",
    "automated_gather_creation",
    "promgen.tasks.notify",
    "promgen.tasks.write_rules",
    "promgen.tasks.write_targets",
    "taskapp.applications.check_all_active",
    "taskapp.applications.check_health",
    "taskapp.applications.update_metadata",
    "taskapp.diagnostics.allocate",
    "taskapp.diagnostics.echo",
    "taskapp.diagnostics.fail",
    "taskapp.diagnostics.sleep",
    "taskapp.jobs.calculate",
    "taskapp.jobs.process",
}

IMPORT_EVERYTHING = """
import sys

FORBIDDEN = {"socket.connect", "socket.bind", "os.mkdir", "sqlite3.connect", "subprocess.Popen"}

def forbid(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event in FORBIDDEN:
        raise AssertionError(f"{event} {arguments}")

sys.dont_write_bytecode = True
sys.addaudithook(forbid)
import taskapp.demo, taskapp.status
taskapp.demo.find_app("taskapp.app:app").loader.import_default_modules()
"""


def test_the_tasks_have_these_names_and_no_decorator_says_where_or_how_long_they_run() -> None:
    app.loader.import_default_modules()
    own = {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}
    assert set(own) == TASKS
    for task in own.values():
        assert (task.time_limit, task.soft_time_limit) == (app.conf.task_time_limit, None)
        assert getattr(task, "queue", None) is None
        assert (task.max_retries, task.default_retry_delay) == (3, 60)


def test_the_readme_lists_exactly_the_tasks_there_are() -> None:
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", (SOURCE / "README.md").read_text(), re.MULTILINE)) == TASKS


def test_a_deployment_overrides_the_retry_policy() -> None:

    own = Celery("own", set_as_current=False, broker="memory://")
    own.conf.task_annotations = {"t": {"max_retries": 7, "autoretry_for": (KeyError,), "retry_backoff": 5}}

    def work() -> None: ...

    task = own.task(name="t", base=Operation)(work)
    assert (task.max_retries, task.autoretry_for, task.retry_backoff) == (7, (KeyError,), 5)


def test_importing_everything_writes_nothing_and_connects_nowhere() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EVERYTHING],
        cwd=SOURCE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_app_knows_nothing_of_what_runs_it() -> None:
    for path in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith("celery_fleet")], path


def test_the_settings_of_the_queue_are_those_that_celery_has() -> None:
    assert set(app.conf.changes) - {"deprecated_settings"} <= set(SETTING_KEYS)
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_time_limit == 1800
    assert app.conf.beat_schedule["check-active-applications"]["schedule"] == 300

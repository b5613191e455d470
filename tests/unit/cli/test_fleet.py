"""`fleet` itself: help without imports, exit codes, errors of one line, completion."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import redis
from click.testing import CliRunner, Result
from kombu.exceptions import OperationalError

from celery_fleet.cli.exits import PROBLEM, UNREACHABLE, USAGE
from celery_fleet.cli.main import VERBS, fleet
from celery_fleet.cli.trouble import explained
from celery_fleet.delivery.agreement import Disagreement
from celery_fleet.install import InstallError
from celery_fleet.topology.document import topology_document

SRC = Path(__file__).resolve().parents[3] / "src"
TOPOLOGY = topology_document(
    {
        "celery_app": "proj.celery:app",
        "celery_queues": {"celery": {}, "email": {"priority": 3}},
        "celery_task_routes": [{"task": "mail.*", "queue": "email", "retry": {"max_retries": "forever"}}],
        "celery_beat_schedule": {"clean": {"task": "app.clean", "schedule": "5m"}},
    }
)


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    path = tmp_path / "topology.json"
    path.write_text(json.dumps(TOPOLOGY))
    return path


def run(*arguments: str, **environment: str | None) -> Result:
    clean = dict.fromkeys((name for name in os.environ if name.startswith("CELERY_")), None)
    return CliRunner().invoke(fleet, arguments, env={**clean, **environment})


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def walk(command: click.Command, *path: str) -> Any:
    """Every command with its words."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found
            yield from walk(found, *path, name)


COMMANDS = dict(walk(fleet))


def test_help_imports_nothing_that_takes_time() -> None:
    shown = python(
        "import sys\n"
        "from celery_fleet.cli.main import fleet\n"
        "try: fleet(['--help'])\n"
        "finally: print(*sorted({'celery', 'kombu', 'redis'} & set(sys.modules)), file=sys.stderr)"
    )
    assert shown.returncode == 0
    assert shown.stderr == "\n"
    assert all(f"  {verb} " in shown.stdout for verb in VERBS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_verb_has_help_with_examples(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    if path != ():
        assert "Examples:" in command.help
        assert f"fleet {path[0]}" in command.help
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or parameter.help, parameter.name  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", [path for path in COMMANDS if path and path != ("celery",)], ids=" ".join)
def test_help_of_a_verb_works(path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: fleet {path[0]}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["queues", "--nonsense"],
        ["queues", "--timeout", "0"],
        ["submit"],
        ["submit", "a", "{1"],
        ["submit", "a", "[1]", "--kwargs", "[1]"],
        ["submit", "a", "--priority", "11"],
        ["submit", "a", "--countdown", "1", "--eta", "2030-01-01T00:00:00"],
        ["tasks", "--since", "yesterday"],
        ["tasks", "--state", "DONE"],
        ["dlq", "list", "--reason", "none"],
        ["dlq", "delete"],
        ["cancel"],
        ["recover"],
        ["status"],  # without the environment of a host
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_in_one_line(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == USAGE
    assert result.stdout == ""
    assert result.stderr.startswith("fleet: ")
    assert result.stderr.count("\n") == 1


def test_without_a_verb_the_help_is_shown() -> None:
    result = run()
    assert result.exit_code == USAGE
    assert "Commands:" in result.stdout


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (redis.ConnectionError("Connection refused."), UNREACHABLE, "redis-server"),
        (redis.TimeoutError("Timeout reading"), UNREACHABLE, "cannot be reached"),
        (OperationalError("Connection refused"), UNREACHABLE, "cannot be reached"),
        (redis.AuthenticationError("WRONGPASS"), UNREACHABLE, "sudo fleet"),
        (redis.exceptions.NoPermissionError("no permissions"), UNREACHABLE, "refuses"),
        (redis.ResponseError("OOM command not allowed"), UNREACHABLE, "OOM"),
        (InstallError("the app x cannot be imported"), USAGE, "imported"),
        (Disagreement("this process and others disagree"), PROBLEM, "disagree"),
        (KeyError("lost"), PROBLEM, "CELERY_FLEET_DEBUG"),
    ],
)
def test_errors_say_what_to_do(error: Exception, code: int, words: str) -> None:
    told = explained(error)
    assert told.exit_code == code
    assert words in told.message
    assert "\n" not in told.message


def test_an_unreachable_redis_is_exit_code_3(topology: Path) -> None:
    result = run("status", CELERY_FLEET_TOPOLOGY=str(topology), CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    assert result.exit_code == UNREACHABLE
    assert result.stderr.startswith("fleet: Redis cannot be reached: ")
    assert result.stderr.count("\n") == 1


class TestTopology:
    def test_a_good_file(self, topology: Path) -> None:
        result = run("topology", "check", str(topology))
        assert (result.exit_code, result.stdout) == (
            0, f"good: {topology} has 2 queues, 1 route, 1 periodic task\n",
        )  # fmt: skip

    def test_the_file_of_the_host(self, topology: Path) -> None:
        assert run("topology", "check", CELERY_FLEET_TOPOLOGY=str(topology)).exit_code == 0

    def test_a_file_is_meant_from_where_the_wrapper_was_called(self, topology: Path) -> None:
        called = run("topology", "check", topology.name, CELERY_FLEET_CALLED_IN=str(topology.parent))
        assert called.exit_code == 0

    def test_every_fault_is_told(self, topology: Path) -> None:
        topology.write_text(json.dumps({**TOPOLOGY, "default_queue": "nope", "delivery": "best"}))
        result = run("topology", "check", str(topology))
        assert result.exit_code == PROBLEM
        assert "has 2 problems" in result.stdout
        found = json.loads(run("topology", "check", str(topology), "--json").stdout)
        assert found["ok"] is False
        assert {problem["where"] for problem in found["problems"]} == {"default_queue", "delivery"}
        assert all(problem["remedy"] for problem in found["problems"])

    @pytest.mark.parametrize("text", ["{", "[]", json.dumps({"version": 99})])
    def test_standard_input(self, text: str) -> None:
        result = CliRunner().invoke(fleet, ["topology", "check", "-"], input=text)
        assert result.exit_code == PROBLEM

    def test_how_a_task_is_run(self, topology: Path) -> None:
        environment = {"CELERY_FLEET_TOPOLOGY": str(topology)}
        found = json.loads(run("topology", "show", "--task", "mail.send", "--json", **environment).stdout)
        assert (found["queue"], found["priority"], found["retry"]["max_retries"]) == ("email", 3, None)
        assert "for ever" in run("topology", "show", **environment).stdout


class TestCompletion:
    def complete(self, *words: str, **environment: str) -> list[str]:
        shown = python(
            "from celery_fleet.cli.main import fleet; fleet()",
            _FLEET_COMPLETE="bash_complete",
            COMP_WORDS=" ".join(words),
            COMP_CWORD=str(len(words) - 1),
            **environment,
        )
        assert shown.stderr == ""
        return [line.partition(",")[2] for line in shown.stdout.splitlines() if line.strip()]

    def test_verbs(self) -> None:
        assert self.complete("fleet", "t") == ["tasks", "topology"]

    def test_verbs_of_a_verb_and_their_options(self) -> None:
        assert self.complete("fleet", "dlq", "re") == ["retry"]
        assert "--reason" in self.complete("fleet", "dlq", "list", "--rea")

    def test_the_verb_that_is_meant_without_being_named(self) -> None:
        assert self.complete("fleet", "tasks", "s") == ["show"]
        assert "--state" in self.complete("fleet", "tasks", "--st")
        assert [state.upper() for state in self.complete("fleet", "tasks", "--state", "FAI")] == ["FAILURE"]

    def test_names_of_queues(self, topology: Path) -> None:
        words = ("fleet", "tasks", "list", "--queue", "e")
        assert self.complete(*words, CELERY_FLEET_TOPOLOGY=str(topology)) == ["email"]
        assert self.complete(*words) == [], "nothing, and no error, where the topology cannot be read"

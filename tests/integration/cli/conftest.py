"""`fleet`, called as its wrapper calls it, against the services of a test."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kombu import pools

from celery_fleet.cli.main import fleet as command
from integration.runtime.plain import environment_maker
from integration.support import PATIENCE, Services


@dataclass(frozen=True)
class Answer:
    """What a call printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Fleet = Callable[..., Answer]


@pytest.fixture
def environment(services: Services, record: Path) -> Callable[..., dict[str, str]]:
    """environment(variables, queues) of a pool that runs the plain app."""
    return environment_maker(services, record)


@pytest.fixture
def fleet(environment: Callable[..., dict[str, str]]) -> Iterator[Fleet]:
    """fleet("queues", "--json", NAME=value...) runs it with the environment of the host.

    In this process, which is much faster, unless the verb imports the app or becomes another program.
    """
    made = {**environment(), "SUDO_USER": "ann"}

    def run(*arguments: str, **more: str) -> Answer:
        how = _in_a_process if arguments[0] in ("submit", "celery", "--with-app") else _here
        answer = how(arguments, {**made, **more})
        assert "Traceback" not in answer.err
        assert answer.code in (0, 1, 2, 3)
        return answer

    yield run
    pools.reset()


def _here(arguments: Sequence[str], environment: Mapping[str, str]) -> Answer:
    result = CliRunner().invoke(command, arguments, env=environment)
    return Answer(result.exit_code, result.stdout, result.stderr)


def _in_a_process(arguments: Sequence[str], environment: Mapping[str, str]) -> Answer:
    done = subprocess.run(
        [sys.executable, "-m", "celery_fleet.cli", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)

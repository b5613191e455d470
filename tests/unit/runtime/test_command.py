"""The command that the services are started by."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import celery_fleet
from celery_fleet.topology.document import as_document
from unit.runtime.topologies import make

APP = """
import atexit, gc, sys
from celery import Celery
import pygments.lexers

app = Celery("tiny")

def tell():
    print("terminal", "prompt_toolkit" in sys.modules, "own", bool(pygments.lexers.get_lexer_by_name), "gc", gc.isenabled())

atexit.register(tell)
"""


@pytest.fixture
def run(tmp_path):
    """run(*arguments) of `python -m celery_fleet`, with a tiny app."""
    (tmp_path / "tinyapp.py").write_text(APP)
    (tmp_path / "topology.json").write_text(json.dumps(as_document(make())))

    def run(*arguments, topology="topology.json"):
        return subprocess.run(
            [sys.executable, "-m", "celery_fleet", *arguments],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join((str(Path(celery_fleet.__path__[0]).parent), str(tmp_path))),
                "CELERY_FLEET_APP": "tinyapp:app",
                "CELERY_FLEET_TOPOLOGY": str(tmp_path / topology),
                "CELERY_BROKER_URL": "redis://localhost:1/0",
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_it_is_celerys_command_without_what_needs_a_terminal(run):
    """What the app itself needs of that, it finds."""
    done = run("-A", "celery_fleet.app", "report")
    assert "software -> celery:5" in done.stdout
    assert done.stdout.endswith("terminal False own True gc True\n")
    assert (done.stderr, done.returncode) == ("", 0)


def test_it_says_in_one_line_why_it_cannot_start(run):
    done = run("-A", "celery_fleet.app", "worker", topology="none.json")
    assert done.returncode == 1
    assert done.stderr.startswith("celery-fleet: ")
    assert done.stderr.count("\n") == 1

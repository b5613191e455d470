"""New code comes and goes, while work goes on."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from acceptance import units
from acceptance.application import SLEEP, Application, Task
from acceptance.playbook import ALL, ROOT, Playbooks, Run
from hosts import Fleet

HOST = "worker1"
CURRENT = "/opt/fleet/current"
DEPLOY, ROLLBACK = "ansible/playbooks/deploy.yml", "ansible/playbooks/rollback.yml"
KEEP = 2


def edition(directory: Path, name: str) -> dict[str, Any]:
    """The variables of an app that differs from the reference app in one task."""
    source = directory / name
    shutil.copytree(ROOT / "src" / "taskapp", source, ignore=shutil.ignore_patterns("__pycache__"))
    module = source / "diagnostics.py"
    before = 'return {"value": value, '
    text = module.read_text()
    assert text.count(before) == 1
    module.write_text(text.replace(before, f'return {{"value": value, "edition": "{name}", '))
    return {ALL: {"celery_app_source": str(source), "release_keep": KEEP}}


def releases(host: Host) -> list[str]:
    return str(host.check_output("ls /opt/fleet/releases")).split()


@contextlib.contextmanager
def watched(host: Host) -> Iterator[None]:
    """Looks many times a second whether the current release is there; fails when it was not."""
    watch = f"while [ ! -e /run/watch.stop ]; do [ -x {CURRENT}/bin/celery ] || date >> /run/watch.missing; sleep 0.01; done"
    host.check_output("rm -f /run/watch.stop /run/watch.missing")
    host.check_output(f"systemd-run --quiet --collect --unit=acceptance-watch sh -c '{watch}'")
    yield
    assert host.check_output("systemctl is-active acceptance-watch") == "active"
    host.check_output("touch /run/watch.stop")
    assert not host.file("/run/watch.missing").exists, "there was no current release for a moment"


@dataclass
class Traffic:
    """Tasks sent to every queue, twice a second, until it is stopped."""

    app: Application
    queues: list[str]
    sent: list[Task] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Traffic:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()

    def _run(self) -> None:
        while not self.stopped.wait(0.5):
            self.sent += self.app.echoes(self.queues).values()


@dataclass(frozen=True)
class Deployment:
    """The release before, the one that was deployed, and the tasks meanwhile."""

    run: Run
    before: str
    after: str
    long: list[Task]
    sent: list[Task]


def current(host: Host) -> str:
    return str(host.check_output(f"basename $(readlink {CURRENT})"))


@pytest.fixture(scope="module")
def deployed(
    playbooks: Playbooks, fleet: Fleet, app: Application, owners: dict[str, Any], tmp_path_factory: Any
) -> Deployment:
    """Another edition of the app is deployed while tasks run and more are sent."""
    playbooks.converged_to()
    host = fleet.host(HOST)
    before = current(host)
    overrides = edition(tmp_path_factory.mktemp("editions"), "second")
    long: list[Task] = []
    with watched(host), Traffic(app, list(owners)) as traffic:
        begin = threading.Timer(
            4, lambda: long.extend(app.send(SLEEP, queue, seconds=20) for queue in owners)
        )
        begin.start()
        run = playbooks.run(DEPLOY, overrides=overrides)
        time.sleep(1)
    return Deployment(run, before, current(host), long, traffic.sent)


class TestDeployment:
    def test_the_new_code_runs_everywhere(
        self, deployed: Deployment, app: Application, owners: dict[str, Any]
    ) -> None:
        assert deployed.after != deployed.before
        for queue, task in app.echoes(owners).items():
            answer = task.result()
            assert (answer["edition"], answer["release"]) == ("second", deployed.after), queue

    def test_no_task_is_lost(self, deployed: Deployment) -> None:
        answers = [task.result(180) for task in deployed.sent]
        assert {answer["release"] for answer in answers} == {deployed.before, deployed.after}
        assert len(deployed.long) > 0
        assert all(task.result(120)["seconds"] >= 20 for task in deployed.long)

    def test_only_workers_and_beat_are_restarted(self, deployed: Deployment, fleet: Fleet) -> None:
        restarted = {unit for actions in deployed.run.actions.values() for unit, _ in actions}
        assert restarted == {
            key[1] for key in units.main_pids(fleet) if key[1].startswith(("celery-worker@", "celery-beat"))
        }


@pytest.mark.usefixtures("deployed")
def test_rolled_back_the_code_from_before_runs_again(
    deployed: Deployment, playbooks: Playbooks, app: Application, fleet: Fleet, owners: dict[str, Any]
) -> None:
    with watched(fleet.host(HOST)):
        playbooks.run(ROLLBACK)
    assert current(fleet.host(HOST)) == deployed.before
    for queue, task in app.echoes(owners).items():
        answer = task.result()
        assert "edition" not in answer, queue
        assert answer["release"] == deployed.before


def test_old_releases_are_pruned_and_a_bad_one_changes_nothing(
    deployed: Deployment, playbooks: Playbooks, app: Application, fleet: Fleet, tmp_path: Path
) -> None:
    """The third release is one whose app cannot be imported, then a good one."""
    host = fleet.host(HOST)
    overrides = edition(tmp_path, "third")
    module = tmp_path / "third" / "app.py"
    good = module.read_text()
    before, pids = current(host), units.main_pids(fleet)
    module.write_text(f"import no_such_module\n{good}")
    failed = playbooks.run(DEPLOY, f"--limit={HOST}", overrides=overrides, fails=True)
    assert "no_such_module" in failed.messages
    assert current(host) == before
    assert units.replaced(pids, units.main_pids(fleet)) == set()

    module.write_text(good)
    playbooks.run(DEPLOY, f"--limit={HOST}", overrides=overrides)
    assert app.echo("default").result()["edition"] == "third"
    assert len(releases(host)) == KEEP
    assert deployed.after not in releases(host), "the oldest goes"
    assert set(releases(host)) == {before, current(host)}

"""What Ansible restarts is told to nobody."""

from __future__ import annotations

import os
import time
from datetime import datetime

import pytest

from acceptance.playbook import ALL, Playbooks
from alerts.conftest import monitoring
from alerts.faults import Stage
from alerts.sink import Sink
from alerts.test_faults import ALWAYS, quiet
from hosts import Fleet
from monitors import alertmanager_of


@pytest.mark.skipif(os.environ.get("ALERTS") != "all", reason="the short form has no time for a whole run")
def test_a_run_that_restarts_every_pool_is_silent(
    playbooks: Playbooks, fleet: Fleet, stage: Stage, sink: Sink
) -> None:
    quiet(stage, sink)
    (monitor,) = fleet.groups["monitoring"]
    environment = {**playbooks.value(monitor, "celery_environment"), "ALERTS_TEST": "1"}
    began = time.time()
    playbooks.run(
        "site.yml",
        overrides={ALL: {**monitoring(sink.url), "celery_environment": environment}},
    )
    silences = [
        each
        for each in alertmanager_of(fleet).ask("/api/v2/silences")
        if each["createdBy"] == "ansible"
        and each["matchers"][0]["name"] == "on_deploy"
        and datetime.fromisoformat(each["startsAt"]).timestamp() > began
    ]
    assert silences, "it was silent"
    assert {each["status"]["state"] for each in silences} == {"expired"}, "and is no more"
    time.sleep(30)  # what would be told late
    assert not [str(each) for each in sink.since(began) if each.name not in ALWAYS]

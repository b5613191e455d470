"""A fleet that works is silent."""

from __future__ import annotations

import os
import time

from acceptance.application import Application
from alerts.faults import Stage, load
from alerts.sink import Sink
from alerts.test_faults import ALWAYS, quiet

MINUTES = float(os.environ.get("ALERTS_MINUTES", "10" if os.environ.get("ALERTS") == "all" else "0.5"))


def test_nobody_is_told_of_anything_while_all_is_well(stage: Stage, sink: Sink, app: Application) -> None:
    """Ten minutes of work in every queue (a short try takes half a minute)."""
    quiet(stage, sink)
    began = time.time()
    queues = [queue for pool in stage.pools for queue in stage.queues(pool)]
    with load(app, queues) as sent:
        time.sleep(MINUTES * 60)
    told = [str(each) for each in sink.since(began) if each.name not in ALWAYS]
    print(f"{len(sent)} tasks in {time.time() - began:.0f} s")
    assert sent
    assert not told

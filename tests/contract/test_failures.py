"""How tasks end that do not succeed, and who hears of it."""

import base64
import json
from typing import Any

import pytest

from contract.laboratory import Laboratory, experiment

ENDS = {
    "exception": ("end", "exception"),
    "retries": ("end", "retries"),
    "result": ("end", "unserialisable"),
    "arguments": ("quick",),
    "reject": ("end", "reject"),
    "time limit": ("end_limited", "time limit"),
    "autoretried": ("end_autoretried", "time limit"),
    "child lost": ("end", "kill"),
    "unknown": ("no_such_task",),
}


@experiment
def ended(lab: Laboratory):
    """By end: the state, the number of starts, and the hooks that were called, in order."""
    worker = lab.worker(concurrency=4, settings={"worker_lost_wait": 1, "task_retry_on_worker_lost": True})
    ids = {end: lab.send(*call) for end, call in ENDS.items()}
    states = {end: lab.wait_state(task_id) for end, task_id in ids.items()}
    lab.eventually(lambda: not lab.unacknowledged() and not lab.queued(), "the end of all")
    return {
        end: (
            states[end],
            lab.starts(task_id),
            [
                f"{each['event']} in {'main' if each['pid'] == worker.pid else 'a child'}"
                for each in lab.events(about=task_id)
                if each["event"] not in ("start", "end")
            ],
        )
        for end, task_id in ids.items()
    }


@pytest.mark.parametrize(
    ("end", "starts", "hooks"),
    [
        ("exception", 1, ["on_failure in a child", "task_failure in a child"]),
        ("retries", 2, ["on_failure in a child", "task_failure in a child"]),
        ("result", 1, ["on_failure in a child", "task_failure in a child"]),
        ("arguments", 0, ["task_failure in a child"]),
        ("reject", 1, ["task_failure in main"]),
        ("time limit", 1, ["task_failure in main", "on_failure in main", "task_failure in main"]),
        ("child lost", 2, ["task_failure in main"]),
        ("unknown", 0, ["task_unknown in main"]),
    ],
)
def test_which_hooks_hear_of_a_failure(ended, end, starts, hooks):
    """`on_failure` misses rejected, lost and unknown tasks; signals come in child or main, some of them twice.

    Why service.request, where all of them pass, writes dead letters, and by id; service.tasklog tells once.
    """
    assert ended[end] == ("FAILURE", starts, hooks)


def test_a_hard_time_limit_is_never_retried_by_celery(ended):
    """`autoretry_for` runs in the child, which the limit kills; `retry_on_worker_lost` does not mean it either.

    service.request retries by the policy.
    """
    assert ended["autoretried"][:2] == ended["time limit"][:2] == ("FAILURE", 1)


def limited(lab: Laboratory, pool: str) -> tuple[str, str]:
    """State and result of a task that would run on beyond its soft limit of 1 s and its hard limit of 2 s."""
    lab.worker(pool=pool)
    task = lab.send("hold_limited", "held")
    lab.wait_start("held")
    if pool in ("threads", "solo"):
        lab.never(lambda: lab.ends("held"), 3)
        lab.release("held")
    return lab.wait_state(task), type(lab.result(task)).__name__


@experiment
def limited_prefork(lab: Laboratory):
    return limited(lab, "prefork")


@experiment
def limited_gevent(lab: Laboratory):
    return limited(lab, "gevent")


@experiment
def limited_threads(lab: Laboratory):
    return limited(lab, "threads")


@experiment
def limited_solo(lab: Laboratory):
    return limited(lab, "solo")


@pytest.mark.parametrize(
    ("found", "end"),
    [
        ("limited_prefork", ("FAILURE", "SoftTimeLimitExceeded")),
        ("limited_gevent", ("FAILURE", "TimeLimitExceeded")),
        ("limited_threads", ("SUCCESS", "NoneType")),
        ("limited_solo", ("SUCCESS", "NoneType")),
    ],
    indirect=["found"],
)
def test_which_pools_enforce_time_limits(found, end):
    """Prefork both, gevent only the hard one, threads and solo none: topology.pools refuses what is not enforced."""
    assert found == end


@experiment
def poisoned(lab: Laboratory):
    lab.worker(concurrency=2, settings={"worker_lost_wait": 1})
    ids = {
        "retried": lab.send("poison_retried", "x"),
        "rejected": lab.send("poison_rejected", "y", 3),
        "default": lab.send("end", "kill"),
    }
    return {name: (lab.wait_state(task_id), lab.starts(task_id)) for name, task_id in ids.items()}


def test_a_task_that_kills_its_process_fails_by_default(poisoned):
    """A lost child fails its task for good, late acknowledgement or not. install sets retry_on_worker_lost."""
    assert poisoned["default"] == ("FAILURE", 1)


def test_retry_on_worker_lost_is_bounded(poisoned):
    """It counts as a retry: max_retries=2 is three starts. service.request counts the losses by themselves."""
    assert poisoned["retried"] == ("FAILURE", 3)


def test_reject_on_worker_lost_is_unbounded(poisoned):
    """It requeues however often, max_retries or not. install switches it off."""
    assert poisoned["rejected"] == ("SUCCESS", 4)


def sent(lab: Laboratory) -> dict[str, Any]:
    """A message of the task `quick`, taken back from the queue."""
    lab.send("quick", "x")
    message: dict[str, Any] = json.loads(lab.redis.lpop("celery"))  # type: ignore[arg-type]
    return message


def encoded(body: str) -> str:
    return base64.b64encode(body.encode()).decode()


@experiment
def bad_messages(lab: Laboratory):
    good = sent(lab)
    lab.worker()
    messages = {
        "body": {**good, "body": encoded("{")},
        "serializer": {**good, "content-type": "application/x-python-serialize"},
        "headers": {**good, "headers": {}},
        "eta": {**good, "headers": {**good["headers"], "eta": "soon"}},
        "envelope": {name: good[name] for name in good if name != "properties"},
    }
    found = {}
    for name, message in messages.items():
        before = len(lab.events())
        lab.redis.lpush("celery", json.dumps(message))
        lab.send("quick", f"after {name}")
        lab.wait_end(f"after {name}")
        heard = [each["event"] for each in lab.events()[before:] if each["event"].startswith("task_")]
        lab.eventually(lambda: not lab.redis.hlen("unacked"), "the acknowledgement of all")
        found[name] = (heard, lab.redis.llen("celery"))
    return found


@pytest.mark.parametrize(
    ("message", "heard"),
    [
        ("body", []),
        ("serializer", ["task_rejected"]),
        ("headers", ["task_rejected"]),
        ("eta", ["task_rejected"]),
        ("envelope", []),
    ],
)
def test_bad_messages_are_dropped(bad_messages, message, heard):
    """What cannot be decoded or is no task is acknowledged and gone; not even a signal tells of every one.

    Ended by service.aside and delivery, which set it aside.
    """
    assert bad_messages[message] == (heard, 0)


@experiment
def not_json(lab: Laboratory):
    worker = lab.worker()
    lab.redis.lpush("celery", "not json")
    code = lab.wait_exit(worker)
    return code, lab.redis.llen("celery"), lab.redis.hlen("unacked")


def test_an_entry_that_is_no_message_ends_the_worker_and_is_lost(not_json):
    """kombu decodes what it has popped in the main loop, which ends. Ended by delivery.transport."""
    assert not_json == (1, 0, 0)


@experiment
def not_three_parts(lab: Laboratory):
    lab.redis.lpush("celery", json.dumps({**sent(lab), "body": encoded("[1]")}))
    worker = lab.worker(wait=False)
    code = lab.wait_exit(worker)
    return code, lab.redis.llen("celery")


def test_a_body_of_other_than_three_parts_ends_every_worker_that_takes_it(not_three_parts):
    """The worker dies of it and gives it back, to the next that dies of it. Ended by service.aside."""
    assert not_three_parts == (1, 1)

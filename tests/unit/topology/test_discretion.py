"""What is marked as sensitive is never shown, and nothing else is hidden."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_fleet.topology.discretion import HIDDEN, Discretion
from unit.runtime.topologies import make

SECRET = "hunter2-7f3a"
QUEUES = {"celery": {}, "vault": {"sensitive": True}}
ROUTES = [
    {"task": "open.*", "queue": "vault", "sensitive": False},
    {"task": "vault.*", "queue": "vault"},
    {"task": "pay.*", "queue": "celery", "sensitive": True},
]
RULES = Discretion(make(celery_queues=QUEUES, celery_task_routes=ROUTES))

plain_names = st.sampled_from(["user", "number", "subject", "passage", "tokens_used", "sec"])
sensitive_names = st.sampled_from(
    [
        "password",
        "DB_PASSWORD",
        "apiKey",
        "X-Api-Key",
        "client_secret",
        "accessToken",
        "Authorization",
        "passwd",
    ]
)
leaves = st.none() | st.booleans() | st.integers() | st.text("abcdef é\n'\"", max_size=6)


def nested(names: Any, leaf: Any) -> Any:
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    )


@given(nested(plain_names, leaves), st.dictionaries(plain_names, nested(plain_names, leaves)))
def test_what_is_not_marked_is_shown_as_it_is(value, kwargs):
    shown = RULES.call("app.task", [value], kwargs)
    assert (shown.args, shown.kwargs, shown.hides, shown.secrets) == ([value], kwargs, False, ())


@given(
    st.lists(st.tuples(st.booleans(), plain_names), max_size=6),
    sensitive_names,
    nested(plain_names, st.just(SECRET)).filter(lambda found: SECRET in json.dumps(found)),
    st.booleans(),
)
def test_what_is_marked_is_hidden_at_any_depth(path, name, value, by_place):
    call: Any = {name: value}
    for is_list, key in path:
        call = [1, call] if is_list else {"user": "somebody", key: call}
    before = json.dumps(call)
    args, kwargs = ([call], {}) if by_place else ([], {"data": call})
    shown = RULES.call("app.task", args, kwargs)
    assert shown.hides
    assert SECRET not in repr((shown.args, shown.kwargs))
    assert json.dumps(call) == before, "the real arguments stay as they are"
    assert SECRET not in shown.scrub(f"could not use {value!r} or {SECRET}")
    assert SECRET not in "".join(RULES.reprs("app.task", repr(tuple(args)), repr(kwargs)))
    cut = f"({before[:-2]}...)"
    assert SECRET not in RULES.reprs("app.task", cut, "")[0]


@pytest.mark.parametrize(
    ("name", "queue", "hidden"),
    [
        ("vault.open", "vault", True),
        ("pay.bill", "celery", True),
        ("app.task", "vault", True),
        ("open.door", "vault", False),
        ("app.task", "celery", False),
        ("app.task", "", False),
    ],
)
def test_all_arguments_of_a_route_or_queue(name, queue, hidden):
    shown = RULES.call(name, [SECRET, 1], {"user": [SECRET]}, queue=queue)
    assert shown.hides is hidden
    assert (SECRET in repr((shown.args, shown.kwargs))) is not hidden
    if hidden:
        assert (shown.args, shown.kwargs) == ([HIDDEN, HIDDEN], {"user": HIDDEN})
        assert RULES.reprs(name, f"('{SECRET}',)", "{}", queue=queue) == (HIDDEN, HIDDEN)


def test_positional_arguments_by_the_names_of_the_parameters():
    shown = RULES.call("app.login", ["me", SECRET], {}, names=("user", "password"))
    assert shown.args == ["me", HIDDEN]
    assert RULES.reprs("app.login", f"('me', '{SECRET}')", "{}", names=("user", "password")) == (
        "('me', '***')",
        "{}",
    )
    assert RULES.reprs("app.login", f"('me', '{SECRET}...", "{}", names=("user", "password"))[0] == HIDDEN


def test_tasks_that_another_task_is_to_call():
    signature = {"task": "pay.bill", "args": [SECRET], "kwargs": {}, "options": {}}
    shown = RULES.call("celery.chord_unlock", ["group"], {"callback": signature})
    assert SECRET not in repr(shown)[: repr(shown).index("secrets=")]
    assert SECRET not in repr(RULES.call("celery.map", [], {"task": signature, "it": [SECRET]}).kwargs)


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_nothing_makes_it_fail(value):
    RULES.call("app.task", value, value, names=("password",))
    RULES.reprs("app.task", str(value), repr(value), names=("password",))
    deep: Any = "x"
    for _ in range(2000):
        deep = [deep]
    assert RULES.call("app.task", deep, {}).hides


def test_without_patterns_only_marked_tasks_are_hidden():
    rules = Discretion(make(celery_queues=QUEUES, celery_task_routes=ROUTES, celery_sensitive_arguments=[]))
    assert not rules.call("app.task", [], {"password": SECRET}).hides
    assert rules.call("pay.bill", [SECRET], {}).hides

"""What workers tell of their tasks, and whether a call fits."""

import datetime
from typing import Optional

import pytest
from celery import Celery
from pydantic import BaseModel

from celery_fleet.service.catalogue import task_type, task_types
from celery_fleet.store.catalogue import Parameter, TaskType, misfits


class Order(BaseModel):
    number: int


APP = Celery("x", set_as_current=False)


@APP.task(bind=True, shared=False)
def bound(self, x: int, y: Optional[str] = None, *, when: datetime.datetime, odd: "int | None" = 3):  # noqa: UP045
    """Adds things.

    And more.
    """


@APP.task(shared=False)
def loose(first, /, second, *rest, **more):
    pass


@APP.task(pydantic=True, shared=False)
def order(order: Order) -> Order:
    return order


class Old(APP.Task):
    name = "old"

    def run(self, x, y=1):
        """An old one."""


APP.register_task(Old())


def told(task):
    return task_type(task.name, task, "default")


def test_parameters_of_a_bound_task():
    found = told(bound)
    assert found.parameters == (
        Parameter("x", annotation="int"),
        Parameter("y", required=False, annotation="Optional[str]", default="None"),
        Parameter("when", "keyword", annotation="datetime.datetime"),
        Parameter("odd", "keyword", required=False, annotation="int | None", default="3"),
    )
    assert (found.doc, found.pools) == ("Adds things.", ("default",))


def test_parameters_of_every_kind():
    assert told(loose).parameters == (
        Parameter("first", by_name=False),
        Parameter("second"),
        Parameter("rest", "varargs", required=False),
        Parameter("more", "varkw", required=False),
    )
    assert told(order).parameters == (Parameter("order", annotation=f"{__name__}.Order"),)
    assert told(APP.tasks["old"]).parameters == (Parameter("x"), Parameter("y", required=False, default="1"))


def test_celery_itself_has_none():
    APP.finalize()
    assert [each.name.rpartition(".")[2] for each in task_types(APP, "default")] == [
        "old",
        "bound",
        "loose",
        "order",
    ]


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ([1], {"when": "x"}, []),
        ([1, None], {"when": "x", "odd": None}, []),
        ([], {"x": 1, "y": "a", "when": "x"}, []),
        ([], {}, ["x is missing.", "when is missing."]),
        ([1, "a", 3], {"when": 1}, [f"{__name__}.bound takes at most 2 arguments by place, not 3."]),
        ([1], {"x": 2, "when": 1}, ["x is given twice: by its place and by its name."]),
        ([1], {"when": 1, "z": 2}, [f"{__name__}.bound has no parameter z; it knows x, y, when, odd."]),
        (["1"], {"when": 1}, ['x must be a whole number, not "1".']),
        ([True], {"when": 1}, ["x must be a whole number, not true."]),
        ([1, 2], {"when": 1, "odd": "q"}, ["y must be a text or null, not 2.", 'odd must be a whole number or null, not "q".']),
    ],
)  # fmt: skip
def test_misfits(args, kwargs, expected):
    assert misfits(told(bound), args, kwargs) == expected


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ([1], {"second": 2, "third": 3, "first": 4}, []),
        ([1, 2, 3, 4], {}, []),
        ([], {"first": 1, "second": 2}, ["first is missing."]),
        ([1, 2], {"second": 2}, ["second is given twice: by its place and by its name."]),
    ],
)
def test_misfits_of_who_takes_much(args, kwargs, expected):
    assert misfits(told(loose), args, kwargs) == expected


@pytest.mark.parametrize(
    ("args", "kwargs"), [([1], {"when": 1}), ([1, 2], {}), ([], {"first": 1}), ([{}], {})]
)
@pytest.mark.parametrize("task", [bound, loose, order])
def test_misfits_are_what_python_says(task, args, kwargs):
    """Without annotations, which Python does not look at."""
    import inspect  # noqa: PLC0415

    found = told(task)
    bare = TaskType(
        found.name, tuple(Parameter(p.name, p.kind, p.required, by_name=p.by_name) for p in found.parameters)
    )
    try:
        inspect.signature(task.run).bind(*args, **kwargs)
    except TypeError:
        assert misfits(bare, args, kwargs)
    else:
        assert misfits(bare, args, kwargs) == []


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("float", 1, "1"),
        ("bool", True, 1),
        ("list[dict[str, int | None]]", [1], {}),
        ("Dict[str, Any]", {}, []),
        ("str | int", 1, None),
        ("typing.Optional[int]", None, "1"),
    ],
)
def test_simple_annotations_are_checked(annotation, good, bad):
    task = TaskType("t", (Parameter("x", annotation=annotation),))
    assert misfits(task, [good], {}) == []
    assert len(misfits(task, [bad], {})) == 1


@pytest.mark.parametrize(
    "annotation", ["Order", "datetime.datetime", "int | Order", "tuple[int, ...]", "'odd", ""]
)
def test_others_are_left_to_the_task(annotation):
    assert misfits(TaskType("t", (Parameter("x", annotation=annotation),)), ["?"], {}) == []

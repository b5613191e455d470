from types import SimpleNamespace
from typing import Any

import pytest

from taskapp import applications, registry
from taskapp.applications import check_all_active, check_health, update_metadata
from taskapp.settings import Application
from taskapp.store import Store


def test_all_active_applications_are_checked_each_by_its_own_task(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def apply_async(kwargs: dict[str, str], expires: int) -> SimpleNamespace:
        sent.append((kwargs, expires))
        return SimpleNamespace(id=f"task-{len(sent)}")

    monkeypatch.setattr(applications.check_health, "apply_async", apply_async)
    monkeypatch.setenv("TASKAPP_APPLICATIONS", '[{"id": "shop", "health_url": "http://shop/health"}]')
    registry.register(store, Application(id="blog", health_url="http://blog/health"))
    registry.register(store, Application(id="old", health_url="http://old/health", active=False))
    assert check_all_active()["result"] == {"tasks": {"blog": "task-1", "shop": "task-2"}}
    assert sent == [
        ({"application_id": "blog", "health_url": "http://blog/health"}, 300),
        ({"application_id": "shop", "health_url": "http://shop/health"}, 300),
    ]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"application_id": "shop"}, "application shop is not registered"),
        ({"application_id": "a b"}, "application_id: "),
        ({"application_id": "shop", "health_url": "file:///etc/passwd"}, "health_url: "),
        ({"application_id": "shop", "health_url": "shop"}, "health_url: "),
    ],
)
def test_what_cannot_be_checked_is_a_fatal_error(kwargs: dict[str, str], message: str) -> None:
    answer = check_health(**kwargs)
    assert answer["status"] == "error"
    assert answer["message"].startswith(message)


def test_metadata_needs_an_address(store: Store) -> None:
    registry.register(store, Application(id="shop", health_url="http://shop/"))
    assert update_metadata("shop")["message"] == "application shop has no metadata URL"

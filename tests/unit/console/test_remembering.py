"""Readings that are shared for a moment."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from celery_fleet.console import remembering
from celery_fleet.console.remembering import remembered


class Owner:
    pass


def test_who_asks_meanwhile_gets_the_same() -> None:
    owner, reads = Owner(), list[int]()

    def read() -> int:
        time.sleep(0.05)
        reads.append(1)
        return len(reads)

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: remembered(owner, "a", 60, read), range(8))) == {1}
    assert remembered(owner, "b", 60, read) == 2
    assert remembered(Owner(), "a", 60, read) == 3
    assert remembered(owner, "a", 60, read) == 1
    assert remembered(owner, "c", 0, read) == 4
    assert remembered(owner, "c", 0, read) == 5


def test_a_failure_is_shared_by_those_who_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    owner, reads, begun = Owner(), list[int](), threading.Barrier(4)

    def read() -> int:
        reads.append(1)
        time.sleep(0.1)
        raise ConnectionError("away")

    def ask(_: int) -> str:
        begun.wait()
        with pytest.raises(ConnectionError) as caught:
            remembered(owner, "a", 60, read)
        return str(caught.value)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(4))) == ["away"] * 4
    assert len(reads) == 1
    monkeypatch.setattr(remembering, "_FAILED", 0.0)
    with pytest.raises(ConnectionError):
        remembered(owner, "b", 60, read)
    assert remembered(owner, "b", 60, lambda: 7) == 7


def test_what_is_too_old_is_forgotten() -> None:
    owner = Owner()
    remembered(owner, "kept", 60, lambda: 0)
    for number in range(500):
        remembered(owner, number, 0, lambda: 0)
    assert len(remembering._readings[owner]) <= remembering._MANY
    assert remembered(owner, "kept", 60, lambda: 1) == 0

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taskapp
from taskapp import records, registry
from taskapp.errors import FatalError, TransientError
from taskapp.figures import DAY, figures, percentile, records_per_day
from taskapp.records import Record, once, save_record
from taskapp.settings import Application
from taskapp.store import Store, now


def count(store: Store, table: str) -> int:
    with store.transaction() as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_the_store_is_made_at_its_first_use_and_is_not_for_everyone(store: Store) -> None:
    assert not store.path.exists()
    assert count(store, "records") == 0
    assert store.path.stat().st_mode & 0o007 == 0


def test_a_failing_transaction_changes_nothing(store: Store) -> None:
    def fail() -> None:
        with store.transaction() as connection:
            connection.execute("INSERT INTO deliveries VALUES ('a', 1, NULL, 'mail', 'sent')")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert count(store, "deliveries") == 0


def test_a_busy_store_is_a_transient_error(store: Store) -> None:
    with store.transaction(), pytest.raises(TransientError, match="busy"):
        count(Store(store.path, busy_timeout=0.01), "records")


def test_any_other_error_of_sqlite_is_a_bug(store: Store) -> None:
    with pytest.raises(sqlite3.OperationalError):
        count(store, "nothing")


REGISTER_MANY = """
import sys
from pathlib import Path
from taskapp.registry import register
from taskapp.settings import Application
from taskapp.store import Store

for number in range(25):
    register(Store(Path(sys.argv[1])), Application(id=f"{sys.argv[2]}{number}", health_url="http://x/"))
"""


def test_processes_write_at_the_same_time(store: Store) -> None:
    sources = Path(taskapp.__file__).parent.parent
    processes = [
        subprocess.Popen([sys.executable, "-c", REGISTER_MANY, str(store.path), prefix], cwd=sources)
        for prefix in "abc"
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert len(registry.applications(store)) == 75


def test_an_application_keeps_its_health_when_it_is_registered_again(store: Store) -> None:
    registry.register(store, Application(id="shop", health_url="http://a/", metadata_url="http://a/meta"))
    registry.save_health(store, "shop", "up", 12.5)
    registry.save_metadata(store, "shop", {"version": 3})
    registry.register(store, Application(id="shop", health_url="http://b/", active=False))
    shop = registry.application(store, "shop")
    assert (shop["health_url"], shop["metadata_url"], shop["active"]) == ("http://b", "http://a/meta", False)
    assert (shop["health"], shop["latency_ms"], shop["metadata"]) == ("up", 12.5, {"version": 3})
    assert count(store, "checks") == 1


def test_an_unknown_application_or_record_is_fatal(store: Store) -> None:
    with pytest.raises(FatalError, match="application shop"):
        registry.application(store, "shop")
    with pytest.raises(FatalError, match="record FIR-1"):
        records.record(store, "FIR-1")


def test_once_means_once(store: Store) -> None:
    todo = []
    for _ in range(3):
        with once(store, "mail", "key", lease=60) as needed:
            todo.append(needed)
    with once(store, "webhook", "key", lease=60) as needed:
        todo.append(needed)
    assert todo == [True, False, False, True]


def test_what_failed_is_still_to_be_done(store: Store) -> None:
    with pytest.raises(OSError, match="no"), once(store, "mail", "key", lease=60):
        raise OSError("no")
    with once(store, "mail", "key", lease=60) as needed:
        assert needed


def test_only_one_run_does_it_and_a_dead_one_is_taken_over(store: Store) -> None:
    with once(store, "mail", "key", lease=60):
        with pytest.raises(TransientError), once(store, "mail", "key", lease=60):
            pass
        with once(store, "mail", "key", lease=0) as needed:
            assert needed
    with once(store, "mail", "key", lease=60) as needed:
        assert not needed


@given(st.lists(st.floats(-1e6, 1e6), max_size=50), st.floats(0.01, 1))
def test_a_percentile_is_the_smallest_value_that_covers_the_fraction(
    values: list[float], fraction: float
) -> None:
    ordered = sorted(values)
    covering = [value for value in ordered if sum(v <= value for v in ordered) >= fraction * len(ordered)]
    assert percentile(ordered, fraction) == (covering[0] if covering else None)


def test_figures_count_what_happened_in_the_period(store: Store) -> None:
    registry.register(store, Application(id="shop", health_url="http://a/"))
    registry.register(store, Application(id="gone", health_url="http://a/", active=False))
    for health, latency in [("up", 10.0), ("up", 30.0), ("unreachable", None), ("down", 20.0)]:
        registry.save_health(store, "shop", health, latency)
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO checks (at, application_id, health) VALUES (?, 'shop', 'up')", (now() - DAY,)
        )
    save_record(store, Record(id="FIR-1", recipient="a@b", complainant="A", summary="S"))
    with once(store, "mail", "FIR-1", lease=60):
        pass
    assert figures(store, hours=1) == {
        "hours": 1,
        "records": 1,
        "deliveries": {"mail": 1},
        "applications": {
            "shop": {
                "health": "down",
                "checks": 4,
                "availability": 0.5,
                "latency_ms_median": 20.0,
                "latency_ms_p95": 30.0,
            }
        },
    }


def test_records_per_day_has_a_row_for_every_day(store: Store) -> None:
    until = 20 * DAY + 5
    for number, at in enumerate([until, until - DAY, until - DAY, until - 7 * DAY]):
        with store.transaction() as connection:
            connection.execute("INSERT INTO records VALUES (?, ?, NULL, 'A', 'a@b', 'S')", (str(number), at))
    rows = records_per_day(store, days=7, until=until)
    assert rows[0][0] == "1970-01-15"
    assert [number for _, number in rows] == [0, 0, 0, 0, 0, 2, 1]

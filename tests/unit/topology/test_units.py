"""Durations, sizes and cron expressions."""

import pytest
from celery.schedules import crontab
from hypothesis import example, given
from hypothesis import strategies as st

from celery_fleet.topology import human_duration, human_size, parse_duration, parse_size
from celery_fleet.topology.cron import parse_cron


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(90, 90), ("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), (0, 0)],
)
def test_duration(text: object, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "1.5h", "1h30m", "30 m", "30M", -1, "-1", 1.5, None, True, [], "1" * 40]
)
def test_not_a_duration(text: object) -> None:
    with pytest.raises(ValueError, match=r"^"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [(512, 512), ("512", 512), ("1K", 1024), ("512M", 2**29), ("1.5G", 3 * 2**29), ("1T", 2**40), ("0", 0)],
)
def test_size(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "G", "1g", "1GB", "1 G", "1.G", "-1G", "1e3", 1.5, None, False, {}, "2048T"]
)
def test_not_a_size(text: object) -> None:
    with pytest.raises(ValueError, match=r"^"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (9, "9B"),
        (1536, "2K"),
        (640 * 2**20, "640M"),
        (3 * 2**29, "1.5G"),
        (2**34, "16G"),
        (2**41, "2T"),
    ],
)
def test_human_size(size: int, text: str) -> None:
    assert human_size(size) == text


@given(st.integers(0, 3650 * 86400))
def test_human_duration_is_exact(seconds: int) -> None:
    assert parse_duration(human_duration(seconds)) == seconds


ATOM = st.sampled_from(
    ["*", "0", "1", "5", "06", "12", "23", "31", "59", "60", "jan", "FEB", "mon", "sun", "x", ""]
)
PART = st.builds(
    "".join,
    st.tuples(ATOM, st.sampled_from(["", "-5", "-1", "-fri", "-"]), st.sampled_from(["", "/2", "/0", "/x"])),
)
FIELD = st.lists(PART, min_size=1, max_size=2).map(",".join)


@given(st.lists(FIELD, min_size=5, max_size=5).map(" ".join))
@example("*/5 * * * *")
@example("0 6 * * mon-fri")
@example("0 0 1-31/2 jan,jul *")
@example("0 22-4 31 1 *")
@example("0 0 * * fri-mon")
def test_cron_that_is_accepted_is_accepted_by_celery(text: str) -> None:
    try:
        expression = parse_cron(text)
    except ValueError:
        return
    crontab.from_string(expression)


@pytest.mark.parametrize(
    "text", ["* * * * *", "*/5 0-23/2 1,15 jan-jun mon-fri", "0  6 * * 1", "59 23 31 dec sat", "0 0 29 feb *"]
)
def test_cron_that_celery_accepts_is_accepted(text: str) -> None:
    crontab.from_string(parse_cron(text))

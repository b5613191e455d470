"""How pages write numbers, times and sizes. Pure functions; templates use them as filters."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

NOTHING = "\N{EN DASH}"
"""Where nothing is known."""

_NARROW = "\N{NARROW NO-BREAK SPACE}"
_THIN = "\N{NO-BREAK SPACE}"
_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86_400

Time = float | int | datetime | None


def epoch(value: Time) -> float | None:
    """Seconds since the epoch."""
    if value is None:
        return None
    return value.timestamp() if isinstance(value, datetime) else float(value)


def number(value: float | None, places: int = 0) -> str:
    """With groups of three digits.

    >>> number(950), number(12480).replace(_NARROW, "_"), number(0.256, 1)
    ('950', '12_480', '0.3')
    """
    return NOTHING if value is None else f"{value:,.{places}f}".replace(",", _NARROW)


def short(value: float | None) -> str:
    """In at most five characters.

    >>> [short(each) for each in (0, 999, 1000, 12480, 999_999, 2_500_000)]
    ['0', '999', '1k', '12.5k', '1M', '2.5M']
    """
    if value is None:
        return NOTHING
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return f"{value / size:.1f}".removesuffix(".0") + unit
    return f"{value:.0f}"


def rate(value: float | None) -> str:
    """Tasks a second, with as many digits as say something.

    >>> [rate(each) for each in (0, 0.004, 0.25, 3.14, 42.2)]
    ['0', '<0.01', '0.25', '3.1', '42']
    """
    if value is None or value == 0:
        return NOTHING if value is None else "0"
    if value < 0.01:
        return "<0.01"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else number(value)


def percent(share: float | None) -> str:
    """A share from 0 to 1.

    >>> [percent(each) for each in (0, 0.004, 0.034, 0.5, 1)]
    ['0%', '0.4%', '3.4%', '50%', '100%']
    """
    if share is None:
        return NOTHING
    value = share * 100
    return f"{value:.1f}%" if 0 < value < 10 else f"{value:.0f}%"


def duration(seconds: float | None) -> str:
    """In the two units that matter.

    >>> [duration(each).replace(_THIN, " ") for each in (0, 0.0042, 0.35, 9.96, 42, 125, 3600, 100_000)]
    ['0 s', '4 ms', '350 ms', '10 s', '42 s', '2 m 5 s', '1 h', '1 d 3 h']
    """
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    seconds = max(0.0, seconds)
    if 0 < seconds < 0.9995:
        return f"{max(1, round(seconds * 1000))}{_THIN}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + f"{_THIN}s"
    whole = round(seconds)
    for size, unit, next_size, next_unit in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "m"),
        (_MINUTE, "m", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size}{_THIN}{unit}" + (f"{_THIN}{rest}{_THIN}{next_unit}" if rest else "")
    return f"{whole}{_THIN}s"


def ago(value: Time, now: float) -> str:
    """How long ago, or in how long, in one unit.

    >>> [ago(each, 100_000).replace(_THIN, " ") for each in (99_999.5, 99_958, 99_000, 80_000, 100_090)]
    ['now', '42 s ago', '16 m ago', '5 h ago', 'in 1 m']
    """
    at = epoch(value)
    if at is None:
        return NOTHING
    distance = abs(now - at)
    if distance < 1:
        return "now"
    size, unit = next(
        (size, unit)
        for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m"), (_SECOND, "s"))
        if distance >= size
    )
    text = f"{int(distance // size)}{_THIN}{unit}"
    return f"{text} ago" if at <= now else f"in {text}"


def lasting(since: Time, now: float) -> str:
    """How long something that began then has gone on.

    >>> lasting(40, 100)
    '1\xa0m'
    """
    at = epoch(since)
    return NOTHING if at is None else duration(now - at)


def when(value: Time) -> str:
    """The moment itself.

    >>> when(0)
    '1970-01-01 00:00:00 UTC'
    """
    at = epoch(value)
    return NOTHING if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(value: Time) -> str:
    """For the attribute `datetime` of `<time>`.

    >>> iso(0)
    '1970-01-01T00:00:00Z'
    """
    at = epoch(value)
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def size(value: float | None) -> str:
    """Bytes.

    >>> [size(each).replace(_THIN, " ") for each in (0, 900, 1536, 734_003_200)]
    ['0 B', '900 B', '1.5 KB', '700 MB']
    """
    if value is None:
        return NOTHING
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            text = f"{value:.1f}".removesuffix(".0") if value < 10 and unit != "B" else f"{value:.0f}"
            return f"{text}{_THIN}{unit}"
        value /= 1024
    raise AssertionError("unreachable")


def spark(values: Sequence[float | None], width: int = 96, height: int = 22) -> tuple[str, str]:
    """The line through these values and the area below it, as paths of an SVG; empty: nothing to draw.

    >>> spark([0, None, 4], 10, 10)
    ('M0 9L10 1', 'M0 9L10 1V10H0Z')
    """
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return "", ""
    top = max(value for _, value in known) or 1
    across, down = width / (len(values) - 1), height - 2
    points = [f"{place * across:.4g} {height - 1 - value / top * down:.4g}" for place, value in known]
    line = "M" + "L".join(points)
    first, last = (f"{known[end][0] * across:.4g}" for end in (0, -1))
    return line, f"{line}V{height}H{first}Z" if last else line

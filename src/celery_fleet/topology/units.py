"""Durations and sizes: what an inventory may say, and how messages and tables print them.

Parsers raise ValueError; its text, when there is one, is the reason in a few words.
"""

import re

MINUTE, HOUR, DAY = 60, 3600, 86400
KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40

_SECONDS = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY}
_BYTES = {"K": KIB, "M": MIB, "G": GIB, "T": TIB}
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}\Z")
_DURATION = re.compile(r"([0-9]{1,12})([smhd])\Z")
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([KMGT])\Z")
_LONGEST = 3650 * DAY
_LARGEST = 1024 * TIB


def parse_whole(value: object) -> int:
    """A whole number, also as a plain decimal string, because `ansible-playbook -e` gives strings."""
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, int):
        return value
    if isinstance(value, str) and _WHOLE.match(value):
        return int(value)
    raise ValueError


def parse_duration(value: object) -> int:
    """Seconds of a whole number of seconds or of `90s`, `30m`, `2h`, `1d`."""
    match = _DURATION.match(value) if isinstance(value, str) else None
    seconds = int(match[1]) * _SECONDS[match[2]] if match else parse_whole(value)
    if seconds < 0:
        raise ValueError("it is negative")
    if seconds > _LONGEST:
        raise ValueError("it is longer than ten years")
    return seconds


def parse_size(value: object) -> int:
    """Bytes of a whole number of bytes or of `512M`, `1.5G` (K, M, G, T are powers of 1024)."""
    match = _SIZE.match(value) if isinstance(value, str) else None
    size = int(float(match[1]) * _BYTES[match[2]]) if match else parse_whole(value)
    if size < 0:
        raise ValueError("it is negative")
    if size > _LARGEST:
        raise ValueError("it is more than 1024T")
    return size


def human_duration(seconds: int) -> str:
    """The shortest exact form: 1800 -> `30m`, 90 -> `90s`, 86400 -> `1d`."""
    for unit, length in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def human_size(size: int) -> str:
    """At most one decimal: 1610612736 -> `1.5G`; for people, not to be parsed back."""
    for unit, factor, decimals in (("T", TIB, 1), ("G", GIB, 1), ("M", MIB, 0), ("K", KIB, 0)):
        if size >= factor:
            return f"{round(size / factor, decimals):g}{unit}"
    return f"{size}B" if size else "0"

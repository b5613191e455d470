"""A log handler that speaks the own protocol of the systemd journal: fields, not only text."""

import logging
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

SOCKET = "/run/systemd/journal/socket"

_LONGEST_MESSAGE = 48 * 1024
_LONGEST_FIELD = 1024
_TIMEOUT = 1.0

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def priority(level: int) -> int:
    """The syslog priority of a level of `logging`."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


def datagram(fields: Mapping[str, object]) -> bytes:
    """The fields as one datagram; those without a value are left out, long ones are cut.

    Raises ValueError for a field name that the journal would drop.
    """
    parts = []
    for name, value in fields.items():
        if not (name.isascii() and name.replace("_", "").isalnum() and name.isupper() and name[0].isalpha()):
            raise ValueError(f"{name!r} is not a name of a journal field")
        if value is None or value == "":
            continue
        longest = _LONGEST_MESSAGE if name == "MESSAGE" else _LONGEST_FIELD
        data = cut(str(value), longest).encode("utf-8", "replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def cut(text: str, longest: int) -> str:
    """The text, or its beginning and how much was cut off."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}... ({len(text) - longest} characters cut)"


class JournalHandler(logging.Handler):
    """Sends each record as one datagram: MESSAGE, PRIORITY, its place in the code, and what `context` tells.

    Never raises, and never waits longer than a second. What the journal does not take goes to `fallback`.
    """

    def __init__(
        self,
        context: Callable[[logging.LogRecord], Mapping[str, object]],
        path: str | Path = "",
        fallback: logging.Handler | None = None,
    ) -> None:
        super().__init__()
        self._context = context
        self._path = str(path or SOCKET)
        self._fallback = fallback
        self._socket: socket.socket | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(datagram(self._fields(record)))
        except Exception:
            if self._fallback:
                self._fallback.handle(record)

    def close(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None
        super().close()

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        return {
            "MESSAGE": self.format(record),
            "PRIORITY": priority(record.levelno),
            "SYSLOG_IDENTIFIER": "celery",
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": record.lineno,
            "CODE_FUNC": record.funcName,
            **self._context(record),
        }

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(_TIMEOUT)
        # Not connected: the journal may be restarted at any time.
        self._socket.sendto(data, self._path)

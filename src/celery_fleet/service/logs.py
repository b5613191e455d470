"""Where the log goes: the journal with fields, or standard error; and a file beside it, if one is named."""

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from . import journal
from .celerylog import quieten
from .environment import Environment
from .tasklog import discreet_line, task_context

log = logging.getLogger(__name__)


class LineFormatter(logging.Formatter):
    """`<ISO time> LEVEL: message`, also for the further lines of a record: none is without."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        start = f"{time} {record.levelname}: "
        text = discreet_line(super().format(record))
        return "\n".join(start + line for line in text.splitlines() or [""])


class MessageFormatter(logging.Formatter):
    """`LEVEL: message`; a traceback follows as it is. For the journal, where a record is one entry."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname}: {discreet_line(super().format(record))}"


def configure_logging(
    environment: Environment, level: int, log_file: str | None = None, environ: Mapping[str, str] = os.environ
) -> None:
    """Takes over the root logger. A log file that cannot be written is reported, and done without."""
    handlers, complaint = _handlers(environment, log_file or environment.log_file, environ)
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    quieten(level)
    if complaint:
        log.error("The log file cannot be written: %s", complaint)


def _handlers(
    environment: Environment, file: str, environ: Mapping[str, str]
) -> tuple[list[logging.Handler], str]:
    console = logging.StreamHandler(sys.__stderr__)
    console.setFormatter(LineFormatter())
    handlers: list[logging.Handler] = [console]
    if under_journal(environ):
        to_journal = journal.JournalHandler(
            lambda record: task_context(record, environment), fallback=console
        )
        to_journal.setFormatter(MessageFormatter())
        handlers = [to_journal]
    if not file:
        return handlers, ""
    try:
        # Looks at the file before each line, so that a rotation by rename needs no signal.
        to_file = WatchedFileHandler(file, encoding="utf-8", errors="replace")
    except OSError as error:
        return handlers, str(error)
    to_file.setFormatter(LineFormatter())
    return [*handlers, to_file], ""


def under_journal(environ: Mapping[str, str] = os.environ, socket: str = "", stderr: int = 2) -> bool:
    """Whether the log belongs in the journal: standard error goes there, or systemd started this service."""
    if not Path(socket or journal.SOCKET).is_socket():
        return False
    try:
        found = os.fstat(stderr)
    except OSError:
        return "INVOCATION_ID" in environ
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}" or "INVOCATION_ID" in environ


def receiver(environment: Environment) -> Any:
    """A receiver of `setup_logging`: Celery leaves logging alone when there is one."""

    def setup_logging(loglevel: int = logging.INFO, logfile: str | None = None, **_: object) -> None:
        configure_logging(environment, loglevel, logfile)

    return setup_logging

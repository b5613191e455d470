"""The fleet's stores, as this call's topology limits them."""

import os
import pwd
import socket
from typing import Any

from celery_fleet.store.audit import Audit
from celery_fleet.store.deadletters import DeadLetters
from celery_fleet.store.index import TaskIndex

from .session import Session


def dead_letters(session: Session) -> DeadLetters:
    topology = session.topology
    return DeadLetters(session.state, topology.dead_letter_limit, topology.dead_letter_age, session.prefix)


def task_index(session: Session) -> TaskIndex:
    topology = session.topology
    return TaskIndex(session.state, topology.task_index_limit, topology.dead_letter_age, session.prefix)


def audit(session: Session, action: str, subject: str, outcome: str = "done", **details: Any) -> None:
    """Notes what an operator did."""
    Audit(session.state, session.prefix).add(actor(), action, subject, outcome, details)


def actor() -> str:
    """Who acts: the person behind sudo, or the user, at this host."""
    user = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    return f"{user}@{socket.gethostname()}"

"""Traces, the log host, and every query of panels and rules, on a whole fleet: with the fixtures of tests/acceptance.

They run against the hosts of ANSIBLE_INVENTORY: `make up`, then `make observability`.
"""

from acceptance.conftest import (
    app,
    as_inventoried,
    fleet,
    owners,
    playbooks,
    pytest_itemcollected,
    pytest_report_header,
)

__all__ = [
    "app",
    "as_inventoried",
    "fleet",
    "owners",
    "playbooks",
    "pytest_itemcollected",
    "pytest_report_header",
]

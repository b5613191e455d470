"""Who gets in where, and what gets out, on a whole fleet: after tests that worked with it.

They run against the hosts of ANSIBLE_INVENTORY, which are containers of the testbed: `make up`, then `make security`.
"""

from acceptance.conftest import app, fleet, playbooks, pytest_itemcollected, pytest_report_header

__all__ = ["app", "fleet", "playbooks", "pytest_itemcollected", "pytest_report_header"]

"""Where a program of the fleet finds Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

AUTHORITY = "/etc/ssl/celery-fleet/authority.pem"
"""Whom the hosts of a fleet with TLS trust. Role base writes it."""


def redis_url(server: Mapping[str, Any], user: str, database: int) -> str:
    """The URL of a database for a user, without the password. `server`: {address, port, tls} of the plan.

    >>> redis_url({"address": "10.0.0.1", "port": 6379, "tls": False}, "worker", 0)
    'redis://worker@10.0.0.1:6379/0'
    >>> redis_url({"address": "fd00::1", "port": 6380, "tls": True}, "worker", 1)
    'rediss://worker@[fd00::1]:6380/1?ssl_cert_reqs=required&ssl_ca_certs=/etc/ssl/celery-fleet/authority.pem'
    """
    address = f"[{server['address']}]" if ":" in server["address"] else server["address"]
    place = f"{user}@{address}:{server['port']}/{database}"
    if not server["tls"]:
        return f"redis://{place}"
    return f"rediss://{place}?ssl_cert_reqs=required&ssl_ca_certs={AUTHORITY}"


class FilterModule:
    """`celery_plan.redis | redis_url("worker", 0)`."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"redis_url": redis_url}

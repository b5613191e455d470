"""`base_certificate_texts | certificate_files('/etc/celery-console/certificate', group='celery-console')`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def certificate_files(texts: Mapping[str, str], place: str, group: str) -> list[dict[str, Any]]:
    """Entries of config_tree: PLACE.pem, and PLACE.key, which this group alone may read.

    texts: `certificate` and `key`, as PEM.
    """
    key = {"group": group, "mode": "0640", "secret": True}
    return [
        {"dest": f"{place}.pem", "content": texts["certificate"]},
        {"dest": f"{place}.key", "content": texts["key"], **key},
    ]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"certificate_files": certificate_files}

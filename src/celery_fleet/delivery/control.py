"""Remote control of a gevent worker, whose listener otherwise ends with its first lost connection."""

import time
from functools import wraps
from typing import Any

from celery.worker.pidbox import gPidbox


def listen_on() -> None:
    """Has the listener connect again, as long as its worker has a connection of its own."""
    loop = gPidbox.loop
    if hasattr(loop, "__wrapped__"):
        return

    @wraps(loop)
    def listen(self: Any, consumer: Any) -> None:
        while True:
            try:
                loop(self, consumer)
            except consumer.connection_errors:
                stopping = self._node_shutdown is None or self._node_shutdown.is_set()
                if not stopping and consumer.connection is not None:
                    time.sleep(1)
                    continue
            return

    gPidbox.loop = listen

"""The Redis result backend, with one round trip for a result, and none for a task that is only sent."""

from typing import Any

from celery import states
from celery.backends import redis as stock
from celery.exceptions import BackendStoreError

from .scripts import STORE
from .wire import LOST, Wire

SCHEMES = {
    "redis": f"{__name__}:RedisBackend",
    "rediss": f"{__name__}:RedisBackend",
    "sentinel": f"{__name__}:SentinelBackend",
}


class _Economical:
    """Mixed into a Redis backend."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        backend: Any = self
        self._wire = _wire_of(backend)
        # The first words of a result tell its state: written as JSON, and not compressed.
        self._legible = backend.serializer == "json" and not backend.app.conf.result_compression

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing: who waits for a result subscribes to it then, and looks whether it is there already."""

    def _store_result(
        self: Any,
        task_id: Any,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        if not self._legible:
            return super()._store_result(task_id, result, state, traceback, request, **kwargs)  # type: ignore[misc]
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        meta["task_id"] = str(task_id, "utf-8") if isinstance(task_id, bytes) else task_id
        value = self.encode(meta)
        if len(value) > self._MAX_STR_VALUE_SIZE:
            raise BackendStoreError("value too large for Redis backend", state=state, task_id=task_id)
        expires = self.failure_expires if state == states.FAILURE else None
        call = (
            self.get_key_for_task(task_id),
            value,
            int((self.expires if expires is None else expires) or 0),
        )
        try:
            self._wire.run(STORE, 1, *call)
        except LOST:
            self.ensure(self._wire.run, (STORE, 1, *call))
        return result


def _wire_of(backend: Any) -> Wire:
    """One for all backends of an app: in a gevent pool each task has a backend, and would connect anew."""
    wires: dict[str, Wire] = vars(backend.app).setdefault("_fleet_wires", {})
    if backend.url not in wires:
        wires[backend.url] = Wire(lambda: backend.client.connection_pool)
    return wires[backend.url]


class RedisBackend(_Economical, stock.RedisBackend):  # type: ignore[misc]
    """For redis:// and rediss://."""


class SentinelBackend(_Economical, stock.SentinelBackend):  # type: ignore[misc]
    """For sentinel://."""

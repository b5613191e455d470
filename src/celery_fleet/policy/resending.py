"""How a task is sent again: `Task.retry` and `Task.signature_from_request` as the topology wants them."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from celery.app.task import Task
from celery.exceptions import Reject

from .priority import Scale
from .retry import Retries, retry_delay

_DESTINATION = {"exchange", "routing_key"}


def signatures(task: type[Task], scale: Scale, queue: str | None = None) -> dict[str, Any]:
    """Attributes of a task whose retries go to `queue` (None: where they came from) with their priority.

    Whatever sends a task again makes its signature so: `retry`, and the worker when a process was killed.
    """
    original = task.signature_from_request

    @wraps(original)
    def signature_from_request(
        self: Task, request: Any = None, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        request = self.request if request is None else request
        if queue and not options.get("queue") and not _DESTINATION & options.keys():
            options["queue"] = queue
        signature = original(self, request, args, kwargs, **options)
        carried = (request.delivery_info or {}).get("priority")
        if options.get("priority") is None and carried is not None:
            signature.options["priority"] = scale.from_message(carried)
        return signature

    return dict.fromkeys(("signature_from_request", "subtask_from_request"), signature_from_request)


def own_retries(
    task: type[Task], retries: Retries, own_limit: bool, own_delay: bool
) -> dict[str, Callable[..., Any]]:
    """The `retry` that the app's code calls: by the policy where neither the call nor the task says.

    `own_limit` and `own_delay`: the task says itself how often, and after which delay, it is retried.
    """
    original = task.retry

    @wraps(original)
    def retry(  # noqa: PLR0917 - as Celery has it
        self: Task,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        request = self.request
        if not eta and countdown is None and not own_delay:
            countdown = retry_delay(retries.policy, request.retries)
        exhausted = max_retries is None and not own_limit and not retries.allow(request)
        if exhausted:
            max_retries = request.retries
        try:
            return original(self, args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        except Reject as refused:
            if isinstance(refused.reason, Exception) and not refused.requeue:
                # It could not be published. Celery would drop the task; back to the queue it goes instead.
                raise Reject(refused.reason, requeue=True) from refused.reason
            raise
        finally:
            if exhausted:
                self.__dict__.pop("override_max_retries", None)

    return {"retry": retry}

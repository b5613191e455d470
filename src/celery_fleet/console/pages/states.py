"""The one word for how a queue or a worker is. Pure."""

from ..models.queues import QueueInfo
from ..models.workers import WorkerInfo


def queue_state(queue: QueueInfo) -> str:
    """What matters most: an operator's wish, then that nobody takes its tasks, then that they are late."""
    if queue.paused:
        return "paused"
    if queue.waiting and not queue.consumers:
        return "unconsumed"
    if queue.late:
        return "late"
    return "flowing" if queue.waiting or queue.running or queue.rate else "idle"


def worker_state(worker: WorkerInfo) -> str:
    """Its state; of one that lives and is drained, how far that is."""
    if worker.draining and worker.state in ("alive", "silent"):
        return "draining" if worker.busy else "drained"
    return worker.state

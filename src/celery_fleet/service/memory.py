"""Memory: share what can be shared with the children; let the kernel kill a child before the main process."""

import gc
from pathlib import Path

_ADJUSTMENT = Path("/proc/self/oom_score_adj")
_CHILD_PENALTY = 300

_frozen = False


def freeze(**_: object) -> None:
    """Receiver of `worker_before_create_process`: keeps the children's collector off what is loaded by now.

    A collection writes to every object that it visits, and a written page is no longer shared. Once is
    enough: what main creates later is little, and frozen garbage would never be freed.
    """
    global _frozen  # noqa: PLW0603
    if not _frozen:
        gc.collect()
        gc.freeze()
        _frozen = True


def prefer_for_oom_kill(path: Path = _ADJUSTMENT, penalty: int = _CHILD_PENALTY, **_: object) -> None:
    """Receiver of `worker_process_init`: makes this child the first choice when memory runs out."""
    try:
        path.write_text(str(min(1000, int(path.read_text()) + penalty)))
    except (OSError, ValueError):  # not worth a worker: without it the kernel goes by size alone
        return

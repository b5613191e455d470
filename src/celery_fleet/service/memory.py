"""Memory: share what can be shared with the children; let the kernel kill a child before the main process."""

import gc
from importlib import import_module
from pathlib import Path
from typing import Any

from billiard.util import get_pdeathsig

_ADJUSTMENT = Path("/proc/self/oom_score_adj")
_CHILD_PENALTY = 300
_USED_BY_EVERY_CHILD = (
    "billiard.popen_fork",
    "billiard.sharedctypes",
    "billiard.synchronize",
    "encodings.idna",
)

_frozen = False


def preload(sender: Any, **_: object) -> None:
    """Receiver of `worker_init`, whose sender is the worker: loads what each child would load for itself.

    The app's own modules are there already. What is loaded before the fork, all children share.
    """
    for name in _USED_BY_EVERY_CHILD:
        import_module(name)
    sender.app.backend.as_uri()  # makes it, and connects to nothing; Celery's banner, which is not shown, does so too
    try:
        get_pdeathsig()  # where cffi is installed, this makes it parse C: 6 MiB in each child
    except OSError:  # no Linux
        return


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

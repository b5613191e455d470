"""The kind of pool that the environment names."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def command_with_pool(command: Sequence[str], variables: Mapping[str, str]) -> list[str] | None:
    """What to run in place of this `celery ... worker`; None if it is well as it is.

    CELERY_WORKER_POOL is an option of Celery like any other, but for gevent, which has to be known before
    anything is imported: only when it is found on the command line, Celery puts it beneath the standard library.
    """
    kind = variables.get("CELERY_WORKER_POOL")
    if kind != "gevent" or not _is_celery(command) or "worker" not in command:
        return None
    if any(argument.startswith(("-P", "--pool")) for argument in command):
        return None
    return [*command, f"--pool={kind}"]


def _is_celery(command: Sequence[str]) -> bool:
    if list(command[1:2]) == ["-m"]:
        return list(command[2:3]) in (["celery"], ["celery_fleet"])
    return Path("".join(command[1:2])).name in ("celery", "celery-fleet")

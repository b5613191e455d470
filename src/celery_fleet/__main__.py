"""`celery-fleet ARGUMENT ...`, or `python -m celery_fleet`: `celery ARGUMENT ...`, for services.

It starts sooner and takes 8 MiB less than Celery's own command, which loads what only people at a terminal need:
the prompt of `celery amqp repl`, and colours.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from celery import maybe_patch_concurrency


def main() -> None:
    """Does what `celery` does with the command line."""
    maybe_patch_concurrency()  # before anything else is imported, as Celery's own command does
    gc.disable()  # what is imported stays: to look through it for garbage, time and again, would take 0.1 s
    try:
        with _without_terminal():
            from celery.bin.celery import main as command  # noqa: PLC0415

        from celery_fleet import app  # noqa: F401, PLC0415 - the user's app, too
    finally:
        gc.enable()
    sys.exit(command())


@contextmanager
def _without_terminal() -> Iterator[None]:
    """Celery's command line is imported meanwhile; an app that needs these modules finds them later."""
    prompt = ModuleType("click_repl")
    vars(prompt)["register_repl"] = lambda *_: None
    absent: dict[str, ModuleType | None] = {"click_repl": prompt, "pygments": None}
    put = {name: module for name, module in absent.items() if name not in sys.modules}
    sys.modules.update(put)  # type: ignore[arg-type] # None: it cannot be imported
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]


if __name__ == "__main__":
    main()

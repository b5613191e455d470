"""`python -m celery_fleet.run MODULE [ARGUMENT ...]`: `python -m MODULE` with the fleet under the user's app.

For programs that send tasks by their own app, such as Django's: `python -m celery_fleet.run django COMMAND`.
"""

import runpy
import sys


def main() -> None:
    """Runs the module that the command line names, as `__main__`."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m celery_fleet.run MODULE [ARGUMENT ...]")
    from . import app  # noqa: F401, PLC0415 - its import puts the fleet under the app

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

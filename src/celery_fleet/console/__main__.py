"""`python -m celery_fleet.console`: the console, as the service celery-console runs it."""

import sys

from .serve import main

if __name__ == "__main__":
    sys.exit(main())

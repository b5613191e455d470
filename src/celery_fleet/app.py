"""The user's app under the fleet's care: `celery -A celery_fleet.app worker | beat | inspect ...`."""

import os
import sys

from .install import InstallError, install, load_app

try:
    app = load_app(os.environ.get("CELERY_FLEET_APP", ""))
    install(app)
except InstallError as error:
    sys.exit(f"celery-fleet: {error}")

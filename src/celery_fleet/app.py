"""The user's app under the fleet's care: `celery -A celery_fleet.app worker | beat | inspect ...`."""

import os
import sys

from .install import InstallError, install, load_app
from .service.environment import Environment

try:
    app = load_app(Environment.read(os.environ).app)
    install(app)
except InstallError as error:
    sys.exit(f"celery-fleet: {error}")

"""The user's app under the fleet's care: `celery -A celery_fleet.app worker | beat | inspect ...`."""

import os
import sys

from .install import InstallError, install, load_app
from .policy.pool import command_with_pool
from .service.environment import Environment

if command := command_with_pool(sys.orig_argv, os.environ):
    os.execv(sys.executable, command)  # noqa: S606 - the same program, with one more option
try:
    app = load_app(Environment.read(os.environ).app)
    install(app)
except (InstallError, ValueError) as error:
    sys.exit(f"celery-fleet: {error}")

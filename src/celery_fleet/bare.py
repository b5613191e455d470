"""The fleet without the user's code: `celery -A celery_fleet.bare flower`, for programs that only look at it and steer it.

`app` reaches the queues, the results and the workers of the user's app, and has no tasks of its own.
"""

import os
import sys

from .install import InstallError, bare_app
from .policy.variables import with_variables
from .service.environment import Environment
from .topology.load import load_topology
from .topology.problem import InvalidTopology

try:
    environment = Environment.read(os.environ)
    if environment.topology is None:
        raise InstallError("CELERY_FLEET_TOPOLOGY names no topology file")
    app = bare_app(environment, with_variables(load_topology(environment.topology), os.environ))
except (InstallError, InvalidTopology, ValueError) as error:
    sys.exit(f"celery-fleet: {error}")

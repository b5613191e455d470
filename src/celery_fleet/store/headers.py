"""Headers that the fleet gives to messages of tasks."""

SINCE = "fleet_since"
"""When the task was first due (seconds since the epoch). Retries carry it on."""

LOST = "fleet_lost"
"""How many times a process that held the task has died."""

ORIGIN = "fleet_origin"
"""The id of the dead letter that the task retries."""

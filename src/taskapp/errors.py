"""The two ways in which a task can fail on purpose; any other exception is a bug or a lost host."""


class TransientError(ConnectionError):
    """A peer did not do its part now; the same call may succeed later.

    It is a `ConnectionError`, so a retry policy that names only built-in exceptions covers it.
    """


class FatalError(Exception):
    """Repeating the call cannot help: a bad parameter, a refused request, something that does not exist."""


class CancelledError(Exception):
    """Somebody asked that this task stop, and it stopped between two steps."""

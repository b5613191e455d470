"""The user's app under the fleet's care: `celery -A celery_fleet.app worker | beat | inspect ...`."""

import os
import sys
import traceback
from pathlib import Path

from celery import Celery
from celery.app.utils import find_app

from .install import InstallError, install


class LoadError(Exception):
    """CELERY_FLEET_APP names no app that can be imported. Its text says why, in one line."""


def load_app(name: str) -> Celery:
    """The app `module:attribute`, or the one of a module, found as `celery -A` finds it. Raises LoadError."""
    if not name:
        raise LoadError("CELERY_FLEET_APP names no app")
    try:
        found = find_app(name)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise LoadError(f"the app {name} cannot be imported: {text}{_place(error)}") from error
    if not isinstance(found, Celery):
        raise LoadError(f"{name} is a {type(found).__name__}, not a Celery app")
    return found


def _place(error: Exception) -> str:
    """Where in the user's files it went wrong, if it did there."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
        and frame.filename != __file__
        and not {"importlib", "celery", "kombu"} & set(Path(frame.filename).parts)
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _load_and_install() -> Celery:
    try:
        found = load_app(os.environ.get("CELERY_FLEET_APP", ""))
        install(found)
    except (LoadError, InstallError) as error:
        sys.exit(f"celery-fleet: {error}")
    return found


app = _load_and_install()

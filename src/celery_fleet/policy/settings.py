"""Names in an app's configuration that look like settings of Celery and are none: Celery ignores them silently."""

import difflib
from collections.abc import Iterator

from celery import Celery
from celery.app.defaults import _TO_NEW_KEY, NAMESPACES, SETTING_KEYS

from celery_fleet.topology.hints import CELERY_SETTINGS

_SLIP = 0.92
"""How near a name must be to a setting's to be taken for a slip of the pen."""
_MOST_LETTERS = 4
"""Letters that are too many or too few: what is further off is not compared, which takes long."""

_MISTAKEN = {
    **{name: remedy for name, remedy in CELERY_SETTINGS.items() if name not in SETTING_KEYS},
    "task_dont_autoretry_for": "leave the exception out of exceptions under retry of the queue or the route",
}
"""Names that people believe in, and what to use instead."""

# Read by Celery's backends and by packages, or from Django's settings.
_OF_OTHERS = ("time_zone", "redbeat_", "redis_", "flower_", "django_celery_", "celery_once_")
_PREFIXES = tuple(f"{name}_" for name in NAMESPACES if isinstance(NAMESPACES[name], dict))


def ignored_settings(app: Celery) -> tuple[list[str], list[str]]:
    """(mistaken, suspicious): names that can only be a mistake, each with its remedy, and others of the kind."""
    names = sorted(set(_own_names(app)))
    found = {name: remedy for name in names if (remedy := _remedy(name))}
    mistaken = [f"{name} is no setting of Celery, which would ignore it: {found[name]}" for name in found]
    return mistaken, [name for name in names if name not in found and _looks_like_one(name)]


def _own_names(app: Celery) -> Iterator[str]:
    """The names of what the app configures, as Celery spells its settings; names that cannot be one are left out.

    A configuration may be a module with much else in it, such as Django's.
    """
    conf = app.conf
    conf.finalize()
    for given in conf.maps[:-1]:
        for name in list(given):
            if name.startswith(conf.prefix or "CELERY_"):
                yield name.removeprefix(conf.prefix or "CELERY_").lower()
            elif name.islower() and not name.startswith("_") and (given is conf.changes or not conf.prefix):
                yield name


def _remedy(name: str) -> str:
    if name in _MISTAKEN:
        return _MISTAKEN[name]
    if _is_known(name) or name.startswith(_OF_OTHERS):
        return ""
    alike = [key for key in SETTING_KEYS if key[:2] == name[:2] and abs(len(key) - len(name)) < _MOST_LETTERS]
    near = difflib.get_close_matches(name, alike, n=1, cutoff=_SLIP)
    return f"did you mean {near[0]}?" if near else ""


def _is_known(name: str) -> bool:
    return name in SETTING_KEYS or f"CELERY_{name.upper()}" in _TO_NEW_KEY


def _looks_like_one(name: str) -> bool:
    return not _is_known(name) and name.startswith(_PREFIXES) and not name.startswith(_OF_OTHERS)

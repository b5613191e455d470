"""Which dead letters a page is about: read from its query string, and written back into links."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs

from celery_fleet.console.models.dead_letters import DeadLetterFilter
from celery_fleet.console.pages.rendering import link
from celery_fleet.store.deadletters import REASONS

PATH = "/ui/dead-letters"

_LENGTH = 200
_MOST_IDS = 200


class Wanted(NamedTuple):
    """Which letters are meant, and on which list they were chosen."""

    letters: DeadLetterFilter
    list: DeadLetterFilter

    @property
    def back(self) -> str:
        """The list."""
        return link(PATH, self.list.facets)


def read(query: str) -> Wanted:
    """From what follows the question mark in an address: ids that were ticked, or else all of the list."""
    said = parse_qs(query)
    ids = tuple(dict.fromkeys(each[:300] for each in said.get("id", [])[:_MOST_IDS]))
    on_list = _filter(said)
    return Wanted(DeadLetterFilter(ids=ids) if ids else on_list, on_list)


def _filter(said: Mapping[str, list[str]]) -> DeadLetterFilter:
    """A reason that there is not is left out."""

    def last(name: str) -> str:
        return (said.get(name) or [""])[-1].strip()[:_LENGTH]

    reason = last("reason") if last("reason") in REASONS else ""
    return DeadLetterFilter(name=last("name"), queue=last("queue"), reason=reason, text=last("text"))

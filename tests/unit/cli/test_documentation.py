"""docs/cli.md names every verb, every field of the JSON answers, and every exit code."""

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from celery_fleet.cli import exits
from celery_fleet.cli.main import VERBS, fleet
from celery_fleet.service.cancel import Cancelled
from celery_fleet.store.deadletters import REASONS, DeadLetter
from celery_fleet.store.index import TaskRecord
from celery_fleet.survey import roster
from celery_fleet.survey.health import RedisReading
from celery_fleet.survey.where import Place

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")


def chapter(verb: str) -> str:
    found = re.search(rf"^## (?:.*, )?fleet {verb}\b.*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"there is no chapter on fleet {verb}"
    return found[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_chapter_with_its_own_verbs(verb: str) -> None:
    command = fleet.get_command(click.Context(fleet), verb)
    for name in command.commands if isinstance(command, click.Group) else ():
        assert f"fleet {verb} {name}" in chapter(verb) or f"`{name}`" in chapter(verb)


@pytest.mark.parametrize(
    ("verb", "model"),
    [
        ("status", RedisReading),
        ("workers", roster.Worker),
        ("tasks", TaskRecord),
        ("tasks", Place),
        ("dlq", DeadLetter),
        ("cancel", Cancelled),
    ],
)
def test_every_field_is_named(verb: str, model: type) -> None:
    assert not [field.name for field in fields(model) if f"`{field.name}`" not in chapter(verb)]


def test_every_state_reason_and_exit_code_is_explained() -> None:
    for state in (roster.ALIVE, roster.SILENT, *roster.MISSING):
        assert f"| {state} |" in chapter("workers")
    for reason in REASONS:
        assert f"`{reason}`" in chapter("dlq")
    for code in (exits.OK, exits.PROBLEM, exits.USAGE, exits.UNREACHABLE):
        assert re.search(rf"^\| {code} \|", TEXT, re.MULTILINE)

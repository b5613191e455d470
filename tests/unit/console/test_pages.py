"""What pages are made of: how numbers are written, templates that a strict browser takes, and what comes from others."""

import asyncio
import base64
import doctest
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from celery_fleet.console.pages import assets, rendering, session, states, text

CONSOLE = Path(rendering.__file__).parent.parent
TEMPLATES = sorted((CONSOLE / "templates").glob("*.html"))
OWN_FILES = sorted(
    path
    for path in (CONSOLE / "static").rglob("*")
    if path.suffix in (".js", ".css", ".svg") and "vendor" not in path.parts
)
VENDORED = sorted((CONSOLE / "static" / "vendor").glob("*/vendor.json"))


@pytest.mark.parametrize(
    "module", [text, rendering, session], ids=lambda module: module.__name__.rpartition(".")[2]
)
def test_the_examples_of_the_functions(module):
    found = doctest.testmod(module)

    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_no_code_or_style_in_it(path):
    source = path.read_text(encoding="utf-8")

    assert not re.search(r"\sstyle\s*=", source), "the content security policy forbids style attributes"
    assert not re.search(r"<style\b", source)
    assert not re.search(r"\son[a-z]+\s*=\s*[\"']", source), "the content security policy forbids handlers"
    assert not re.search(r"<script\b(?![^>]*\bsrc=)", source), "scripts are files"
    assert "javascript:" not in source


@pytest.mark.parametrize("path", TEMPLATES + OWN_FILES, ids=lambda path: path.name)
def test_nothing_is_loaded_from_elsewhere(path):
    source = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"(?:src|href|action)\s*=\s*[\"'](?:[a-z]+:)?//", source)
    assert not re.search(r"(?:url\(|@import|from|fetch\()\s*[\"']?(?:[a-z]+:)?//", source)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_compiles_and_every_post_has_a_token(path):
    rendering._TEMPLATES.get_template(path.name)
    source = path.read_text(encoding="utf-8")

    for form in re.findall(r"<form\b[^>]*method=\"post\".*?</form>", source, re.DOTALL):
        assert "csrf" in form or 'action="/ui/login"' in form


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_what_a_template_names_exists(path):
    for name in re.findall(r"static\('([^'~]+)'\)", path.read_text(encoding="utf-8")):
        assert (assets.ROOT / name).is_file()


@pytest.mark.parametrize("path", VENDORED, ids=lambda path: path.parent.name)
def test_what_comes_from_others_is_unchanged(path):
    told = json.loads(path.read_text(encoding="utf-8"))
    found = {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest()
        for each in path.parent.iterdir()
        if each.name != path.name
    }

    assert found == told["sha256"]
    assert path.parent.name == f"{told['name']}-{told['version']}"
    assert told["license"] == "MIT"
    assert len(base64.b64decode(told["integrity"].removeprefix("sha512-"))) == 64
    assert "LICENSE" in found


def test_the_charts_are_there():
    assert [path.parent.name for path in VENDORED] == ["uplot-1.6.32"]


def test_both_themes_have_every_colour():
    """Every variable that a style or script uses is one of the tokens, or has a value to fall back on."""
    sources = "".join(path.read_text(encoding="utf-8") for path in OWN_FILES)
    defined = set(re.findall(r"(--[a-z0-9-]+)\s*:", sources))
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", sources)) | set(
        re.findall(r"\"(--[a-z0-9-]+)\"", sources)
    )

    assert used <= defined


def get(*addresses):
    """The answers of the static files to these requests."""

    async def asked():
        app = Starlette(routes=[Mount("/static", assets.Assets())])
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return [await client.get(address) for address in addresses]

    return asyncio.run(asked())


def test_files_are_kept_until_one_changes():
    current, other, old, outside = get(
        assets.address("css/base.css"),
        "/static/css/base.css",
        "/static/000000000000/css/base.css",
        assets.address("%2e%2e/pages/text.py"),
    )

    assert current.status_code == other.status_code == 200
    assert current.content == (assets.ROOT / "css" / "base.css").read_bytes()
    assert "immutable" in current.headers["Cache-Control"]
    assert other.headers["Cache-Control"] == "no-cache"
    assert old.status_code == outside.status_code == 404


@pytest.mark.parametrize(
    "function", [text.number, text.short, text.rate, text.percent, text.duration, text.size, text.when]
)
def test_what_is_not_known_is_a_dash(function):
    assert function(None) == text.NOTHING


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({}, "idle"),
        ({"running": 1}, "flowing"),
        ({"waiting": 1, "consumers": 1}, "flowing"),
        ({"waiting": 1, "consumers": 1, "late": True}, "late"),
        ({"waiting": 1, "late": True}, "unconsumed"),
        ({"waiting": 1, "paused": object()}, "paused"),
    ],
)
def test_the_state_of_a_queue_is_what_matters_most(told, state):
    quiet = {"paused": None, "waiting": 0, "consumers": 0, "late": False, "running": 0, "rate": 0.0}

    assert states.queue_state(SimpleNamespace(**quiet | told)) == state


@pytest.mark.parametrize(
    ("said", "draining", "busy", "state"),
    [
        ("alive", None, 1, "alive"),
        ("alive", object(), 1, "draining"),
        ("silent", object(), 0, "drained"),
        ("dead", object(), None, "dead"),
    ],
)
def test_the_state_of_a_worker_tells_of_draining_while_it_lives(said, draining, busy, state):
    assert states.worker_state(SimpleNamespace(state=said, draining=draining, busy=busy)) == state


def test_the_digest_changes_with_a_file(tmp_path):
    (tmp_path / "one.css").write_text("a {}")
    before = assets.digest.__wrapped__(tmp_path)
    (tmp_path / "one.css").write_text("b {}")

    assert assets.digest.__wrapped__(tmp_path) != before

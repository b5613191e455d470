"""The documents tell the truth: links lead somewhere, what they name exists, tables say what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from celery_fleet.topology import plan_host, validate_fleet
from celery_fleet.topology.fields import MISSING, Field
from celery_fleet.topology.units import GIB, human_size
from celery_fleet.topology.variables import (
    AUTOSCALE,
    BEAT,
    POOL,
    QUEUE,
    RETRY,
    ROUTE,
    SANDBOX,
    TRACING,
    VARIABLES,
)

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
INVENTORY = ROOT / "docs" / "inventory.md"
GROUPS = ("redis", "workers", "beat", "monitoring")

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)|<img[^>]*\ssrc=\"(?P<source>[^\"]+)\"")
VERB = re.compile(r"(?<![\w-])make (?:[A-Z_]+=\S+ )*([a-z][a-z-]*)")
PATH = re.compile(
    r"(?<![\w./<>-])(?:\./)?((?:ansible|inventories|molecule|requirements|scripts|src|tests|docs)/[\w./-]*\w|site\.yml)"
)
USERS_OWN = ("inventories/mine",)
"""Paths that a reader makes, by a command that the documents give."""


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def code_of(text: str) -> str:
    """What is set as code: blocks and spans."""
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return "\n".join([*FENCE.findall(text), *spans])


def anchors_of(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(path)), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def links_of(path: Path) -> list[str]:
    found = [match["target"] or match["source"] for match in LINK.finditer(FENCE.sub("", text_of(path)))]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def broken(path: Path, link: str) -> str | None:
    """What is wrong with a relative link, if something is."""
    name, _, anchor = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    if not target.exists():
        return f"{link}: there is no such file"
    if anchor and anchor not in anchors_of(target):
        return f"{link}: there is no such heading"
    return None


def section(text: str, title: str) -> str:
    """A chapter of a document, without its heading."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no chapter {title!r}"
    return found[2]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in a text, headings included."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def defaults_in(text: str) -> dict[str, str]:
    """The tables of names: name to what the second column says."""
    return {cells[0].strip("`"): cells[1] for cells in rows(text) if re.fullmatch(r"`\w+`", cells[0])}


def written(value: Any) -> str:
    """A default as the documents write it."""
    if isinstance(value, str):
        return f"`{value}`"
    flow: str = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return f"`{flow.strip().removesuffix('...').strip()}`"


def role_options() -> dict[str, dict[str, Any]]:
    """Every variable of every role, as its argument_specs describes it."""
    options: dict[str, dict[str, Any]] = {}
    for path in sorted((ROOT / "ansible" / "roles").glob("*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(text_of(path))["argument_specs"].values():
            options |= entry["options"]
    return options


def test_there_are_documents() -> None:
    assert {"README.md", "docs/README.md", "docs/inventory.md"} <= {shown(path) for path in DOCUMENTS}
    assert all(links_of(path) for path in (ROOT / "README.md", ROOT / "docs" / "README.md"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
class TestDocument:
    def test_relative_links_lead_somewhere(self, path: Path) -> None:
        assert not [fault for link in links_of(path) if (fault := broken(path, link))]

    def test_verbs_of_make_exist(self, path: Path) -> None:
        verbs = set(re.findall(r"^([a-z-]+):.*##", text_of(ROOT / "Makefile"), re.MULTILINE))
        assert not set(VERB.findall(code_of(text_of(path)))) - verbs

    def test_paths_of_the_project_exist(self, path: Path) -> None:
        named = {name for name in PATH.findall(code_of(text_of(path))) if not name.startswith(USERS_OWN)}
        assert not {name for name in named if not (ROOT / name).exists()}

    def test_every_heading_is_unique(self, path: Path) -> None:
        if path.name == "CHANGELOG.md":
            return
        headings = re.findall(r"^#+ .+$", FENCE.sub("", text_of(path)), re.MULTILINE)
        assert len(headings) == len(set(headings)), "anchors of the second one would be others"


def test_the_index_names_every_document() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links_of(index)}
    assert {path for path in (ROOT / "docs").rglob("*.md") if path != index} <= linked


class TestInventoryInTheReadme:
    @pytest.fixture
    def block(self) -> str:
        blocks = re.findall(r"^```yaml\n(.*?)^```$", text_of(ROOT / "README.md"), re.MULTILINE | re.DOTALL)
        assert len(blocks) == 1
        return str(blocks[0])

    def test_has_eleven_lines(self, block: str) -> None:
        assert len(block.splitlines()) == 11

    def test_is_that_of_inventories_single(self, block: str) -> None:
        assert yaml.safe_load(block) == yaml.safe_load(text_of(ROOT / "inventories" / "single" / "hosts.yml"))

    def test_is_valid(self, block: str) -> None:
        inventory = yaml.safe_load(block)["all"]
        children: Mapping[str, Any] = inventory["children"]
        hosts = {name: {"vars": {"celery_app": "taskapp.app:app"}} for name in inventory["hosts"]}
        groups = {name: list(children.get(name, {}).get("hosts", {})) for name in GROUPS}
        assert validate_fleet({"groups": groups, "hosts": hosts}) == []


@pytest.mark.parametrize(
    ("chapter", "fields"),
    [
        pytest.param("Queues", QUEUE, id="queue"),
        pytest.param("Routes", ROUTE, id="route"),
        pytest.param("Retry policies", RETRY, id="retry"),
        pytest.param("Periodic tasks", BEAT, id="beat"),
        pytest.param("Pools", POOL, id="pool"),
        pytest.param("Sandboxes", SANDBOX, id="sandbox"),
        pytest.param("Traces", TRACING, id="tracing"),
    ],
)
def test_every_key_is_documented_with_its_default(chapter: str, fields: Mapping[str, Field]) -> None:
    documented = defaults_in(section(text_of(INVENTORY), chapter))
    assert not set(fields) - set(documented)
    for name, field in fields.items():
        if field.required:
            assert documented[name] == "required"
        elif field.default not in (MISSING, None, ""):
            assert documented[name] == written(field.default), name


def test_no_key_is_documented_that_does_not_exist() -> None:
    text = text_of(INVENTORY)
    known = {*VARIABLES, *role_options()}
    for chapter, fields in {
        "Queues": QUEUE, "Routes": ROUTE, "Retry policies": RETRY, "Periodic tasks": BEAT, "Pools": POOL,
        "Sandboxes": SANDBOX, "Traces": TRACING,
    }.items():  # fmt: skip
        assert not set(defaults_in(section(text, chapter))) - set(fields) - known
    assert not set(defaults_in(section(text, "Other variables"))) - known


def test_autoscale_is_documented() -> None:
    row = next(row for row in rows(text_of(INVENTORY)) if row[0] == "`autoscale`")
    assert not [key for key in AUTOSCALE if f"{key}:" not in row[2]]


def test_every_variable_is_documented_with_its_default() -> None:
    text = text_of(INVENTORY)
    documented = defaults_in(text)
    options = role_options()
    missing = [name for name in {**VARIABLES, **options} if f"`{name}`" not in text]
    assert not missing
    in_words = re.compile(r"\{\{|\|")  # computed ones, and what would end a cell of the table
    for name, option in options.items():
        default = option.get("default", "")
        if name in documented and default != "" and not in_words.search(str(default)):
            assert documented[name] == written(default), name
    for name, field in VARIABLES.items():
        if name in documented and field.default not in (MISSING, None):
            assert documented[name] == written(field.default), name


def test_the_table_of_plans_is_what_the_plan_computes() -> None:
    planned = []
    for cells in rows(section(text_of(INVENTORY), "What `auto` means")):
        if not cells[0].isdigit():
            continue
        cpus, memory = int(cells[0]), int(cells[1].removesuffix("G")) * GIB
        given = {"celery_app": "proj.celery:app"}
        alone = plan_host(given, name="h", groups=["workers"], cpus=cpus, memory=memory)
        shared = plan_host(given, name="h", groups=["workers", "redis"], cpus=cpus, memory=memory)
        pool = alone.pools["default"]
        assert cells[2:] == [
            human_size(alone.reserve),
            str(pool.concurrency),
            human_size(pool.memory_per_child),
            human_size(pool.memory_max),
            human_size(shared.redis_maxmemory or 0),
            human_size(shared.pools["default"].memory_max),
        ]
        planned.append((cpus, memory // GIB))
    assert min(planned) == (2, 2)
    assert max(planned) == (16, 64)

"""The floors of the runtime: each imports only from those below it, and the faces know nothing of each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src/celery_fleet"

FLOORS = (
    "topology",
    "panels",
    "store",
    "delivery",
    "policy",
    "service",
    "tracing",
    "survey",
    "install",
    "faces",
)
"""From the lowest to the highest."""
SINGLE = {"app": "install", "bare": "install", "trial": "faces", "run": "faces", "__main__": "faces"}
"""Modules that stand on a floor without a package of its name; `cancellation` hands on what service has."""
FACES = ("cli", "console", "exporter")
HANDED_ON = {"cancellation": "service", "__init__": "topology"}

FILES = sorted(PACKAGE.rglob("*.py"))


def part(module: str) -> str:
    """The package or module directly below celery_fleet."""
    return module.removeprefix("celery_fleet").lstrip(".").partition(".")[0] or "__init__"


def floor(name: str) -> int:
    known = {**SINGLE, **HANDED_ON, **dict.fromkeys(FACES, "faces")}
    return FLOORS.index(known.get(name, name))


def imports(path: Path) -> Iterator[str]:
    """The parts of the package that a file imports."""
    package = ("celery_fleet", *path.relative_to(PACKAGE).with_suffix("").parts)[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (part(alias.name) for alias in node.names if alias.name.startswith("celery_fleet."))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            if module == "celery_fleet":
                yield from (alias.name for alias in node.names if alias.name != "__version__")
            elif module.startswith("celery_fleet."):
                yield part(module)


def test_there_are_files_on_every_floor() -> None:
    assert {part(".".join(path.relative_to(PACKAGE).with_suffix("").parts)) for path in FILES} >= {
        *FLOORS[:-1],
        *FACES,
    }


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_nothing_is_imported_from_above(path: Path) -> None:
    own = part(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    for other in set(imports(path)) - {own}:
        assert floor(other) <= floor(own), f"{own} imports {other}"
        assert {own, other} - set(FACES) or own == other, f"{own} imports {other}: both are faces"

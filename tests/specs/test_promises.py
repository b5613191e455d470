"""Every promise of docs/promises.md is named in the test that proves it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMISES = re.findall(r"^\| ([A-Z]\d+) \|", (ROOT / "docs/promises.md").read_text(), flags=re.MULTILINE)


def texts_of_tests(path: Path) -> Iterator[str]:
    """Docstrings and names of the tests of a file, and of the modules and classes that hold them."""
    tree = ast.parse(path.read_text())
    yield ast.get_docstring(tree) or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name.lower().startswith("test"):
            yield f"{node.name.replace('_', ' ')} {ast.get_docstring(node) or ''}"


def named(text: str) -> set[str]:
    return {word.upper() for word in re.findall(r"\b[a-zA-Z]\d{1,2}\b", text)}


@pytest.fixture(scope="module")
def proven() -> set[str]:
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    return {promise for path in files for text in texts_of_tests(path) for promise in named(text)}


def test_there_are_promises() -> None:
    assert len(PROMISES) == len(set(PROMISES)) > 20


@pytest.mark.parametrize("promise", PROMISES)
def test_a_test_names_it(promise: str, proven: set[str]) -> None:
    assert promise in proven

"""Reads the topology file of a host, by the same rules that the inventory is checked by."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from .document import KEYS, VERSION
from .hints import did_you_mean
from .model import Topology
from .problem import InvalidTopology, Problem, show
from .resolve import resolve
from .work import read_work

_DEPLOY = "write the file again by a run of the playbook"


def load_topology(path: Path) -> Topology:
    """The topology of a file. Raises InvalidTopology, with every fault, when it cannot be read or used."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_json)
    except OSError as error:
        problem = Problem((), f"it cannot be read: {error.strerror}", _DEPLOY)
        raise InvalidTopology([problem], str(path)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidTopology([Problem((), f"it is not JSON: {error}", _DEPLOY)], str(path)) from error
    return read_document(content, source=str(path))


def read_document(content: object, source: str = "the topology") -> Topology:
    """The topology of the content of a file. Raises InvalidTopology, naming `source`, with every fault."""
    if not isinstance(content, Mapping):
        raise InvalidTopology([Problem((), f"{show(content)} is not a topology", _DEPLOY)], source)
    version = content.get("version")
    if version != VERSION:
        what = f"{show(version)} is not a version of the file that this release can read"
        raise InvalidTopology([Problem(("version",), what, f"it reads version {VERSION}; {_DEPLOY}")], source)
    known = {"version", *KEYS}
    problems = [
        Problem(
            (str(key),), f"{show(key)} is not a part of a topology", did_you_mean(str(key), sorted(known))
        )
        for key in content
        if key not in known
    ]
    problems += [Problem((key,), f"it has no {key}", _DEPLOY) for key in KEYS if key not in content]
    values, faults = read_work({name: content[key] for key, name in KEYS.items() if key in content})
    keys = {name: key for key, name in KEYS.items()}
    told: set[Any] = {problem.where[0] for problem in problems}
    for fault in faults:
        where = (keys.get(str(fault.where[0]), fault.where[0]), *fault.where[1:])
        if where[0] not in told:
            problems.append(Problem(where, fault.what, fault.remedy))
    if problems:
        raise InvalidTopology(problems, source)
    return resolve(values)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")

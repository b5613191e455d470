"""The passwords and keys of a fleet, as this machine keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hosts import Fleet

SHORTEST = 16
"""Characters of what counts as a secret: less is found everywhere."""


def secrets_of(fleet: Fleet) -> Mapping[str, str]:
    """By the name of their file. Of a private key: its first line that only it has."""
    directory = Path(fleet.variables(fleet.names[0])["fleet_secrets_dir"])
    found = {}
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or path.suffix in (".crt", ".csr", ".pem"):
            continue
        lines = path.read_text().split("\n")
        text = lines[1] if lines[0].startswith("-----BEGIN") else lines[0].split(" ")[0]
        if len(text) >= SHORTEST:
            found[str(path.relative_to(directory))] = text
    return found


def told(secrets: Mapping[str, str], text: str) -> list[str]:
    """Which of them a text tells."""
    return [name for name, secret in secrets.items() if secret in text]

"""What `make sbom` says of a program is what its lock file has."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def sbom(directory: Path, program: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / "sbom"), str(directory), program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_locked_package_is_in_it_with_its_hashes(tmp_path: Path) -> None:
    done = sbom(tmp_path, "exporter")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads((tmp_path / "exporter.cdx.json").read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    told = {
        component["purl"]: {
            found["content"]
            for reference in component["externalReferences"]
            for found in reference.get("hashes", [])
        }
        for component in document["components"]
    }
    text = (ROOT / "requirements" / "exporter.txt").read_text()
    locked = {
        f"pkg:pypi/{name}@{version}": set(re.findall(r"sha256:([0-9a-f]{64})", rest))
        for name, version, rest in re.findall(r"^([a-z0-9._-]+)==(\S+)((?:.*\\\n)*.*)$", text, re.MULTILINE)
    }
    assert len(locked) > 5
    assert told == locked


def test_an_unknown_program_is_refused(tmp_path: Path) -> None:
    done = sbom(tmp_path, "celery")
    assert done.returncode == 1
    assert "there is no program celery" in done.stderr

"""The promtool of the fleet's Prometheus, whichever Debian it is from, finds in the rules what that of this machine finds."""

from __future__ import annotations

import base64
import io
import tarfile

import pytest
from testinfra.host import Host

from rules.rendering import files


def archive(texts: dict[str, str]) -> str:
    """As base64."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.group("monitoring")
def test_alerts_fire_are_quiet_and_end(host: Host) -> None:
    place = host.check_output("mktemp -d")
    try:
        host.check_output(
            "sh -c \"printf %%s '%s' | base64 -d | tar -xz -C %s\"" % (archive(files()), place)  # noqa: UP031
        )
        run = host.run(f"sh -c 'cd {place} && promtool test rules test-*.yml'")
        assert run.rc == 0, run.stdout + run.stderr
        assert "SUCCESS" in run.stdout
    finally:
        host.check_output(f"rm -r {place}")

"""`make audit`: what it makes of the answers of Lynis, systemd and testssl.sh."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from audit import exposure, lynis, tls
from audit.findings import AuditError
from unit.audit import samples

PLACE = tls.Place("one", "Redis", "10.214.5.11", 6380)


class TestLynis:
    def test_its_report(self) -> None:
        found = lynis.parse(samples.LYNIS)
        assert (found.version, found.index, found.tests) == ("3.0.8", 59, 237)
        assert found.warnings == ("PKGS-7392: Found one or more vulnerable packages.",)
        assert len(found.suggestions) == 3
        assert (
            found.suggestions[1]
            == "SSH-7408: Consider hardening SSH configuration: AllowTcpForwarding (set YES to NO)"
        )

    @pytest.mark.parametrize("missing", ["finish=true", "hardening_index=59"])
    def test_a_report_that_ends_early_is_none(self, missing: str) -> None:
        with pytest.raises(AuditError, match="did not come to its end"):
            lynis.parse(samples.LYNIS.replace(missing, ""))

    def test_what_it_says_never_fails(self) -> None:
        before = lynis.parse(samples.LYNIS)
        after = lynis.parse(samples.LYNIS.replace("index=59", "index=65").replace("DEB-0280|", "DEB-9999|"))
        (finding,) = lynis.findings("one", before, after)
        assert finding.before == "59/100; warnings 1, suggestions 3"
        assert finding.after == "65/100; warnings 1, suggestions 3"
        assert finding.verdict == "note"
        assert [line.partition(":")[0] for line in finding.data["new"]] == ["DEB-9999"]

    def test_no_state_before(self) -> None:
        (finding,) = lynis.findings("one", None, lynis.parse(samples.LYNIS))
        assert finding.before == "-"

    def test_it_is_packed_as_root_s(self, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text("true\n")
        lynis.pack(tmp_path / "packed.tar.gz", {"lynis": str(script)})
        with tarfile.open(tmp_path / "packed.tar.gz") as archive:
            (member,) = archive.getmembers()
        assert (member.name, member.uid, member.gid) == ("lynis", 0, 0)

    def test_it_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(AuditError, match="scripts/setup audit"):
            lynis.pack(tmp_path / "packed.tar.gz", {"lynis": "/nowhere/lynis"})

    def test_hosts_fetch_no_lists(self) -> None:
        assert "refresh-repositories=no" in lynis.command("/d", quick=True, refresh=False)
        assert "refresh-repositories" not in lynis.command("/d", quick=True, refresh=True)


class TestExposure:
    def test_services_of_the_fleet_alone(self) -> None:
        assert exposure.figures(samples.OVERVIEW) == {
            "celery-beat.service": 1.5,
            "nginx.service": 2.7,
            "redis-server.service": 1.1,
        }

    def test_no_answer(self) -> None:
        with pytest.raises(AuditError, match="no JSON"):
            exposure.figures("Failed to connect to bus")

    def test_figures_without_a_sandbox(self) -> None:
        assert exposure.overall(samples.OFFLINE) == {
            "celery-worker@default.service": 9.2,
            "nginx.service": 9.6,
        }

    def test_units_lose_the_fleet_s_lines_and_no_others(self) -> None:
        ours, debian = "celery-worker@default", "redis-server"
        command = exposure.without_sandbox("/d", exposure.fragments(samples.FRAGMENTS))
        assert f"cat /lib/systemd/system/{debian}.service > /d/before-{debian}.service" in command
        found = re.search(
            rf"grep -vE '(.*)' /etc/systemd/system/celery-worker@.service > /d/before-{ours}.service", command
        )
        assert found is not None
        unit = ["User=celery", "NoNewPrivileges=yes", "SystemCallFilter=@system-service", "MemoryMax=1G"]
        assert [each for each in unit if not re.match(found[1], each)] == ["User=celery", "MemoryMax=1G"]

    def test_limits(self) -> None:
        after = {"celery-beat.service": 2.1, "nginx.service": 3.0, "redis-server.service": 1.1}
        found = exposure.findings("one", {"nginx.service": 9.6}, after)
        assert [(each.what, each.before, each.after, each.verdict) for each in found] == [
            ("celery-beat", "-", "2.1", "FAILED"),
            ("nginx", "9.6", "3.0", "ok"),
            ("redis-server", "-", "1.1", "ok"),
        ]

    def test_a_host_without_services_proves_nothing(self) -> None:
        with pytest.raises(AuditError, match="no service of the fleet"):
            exposure.findings("one", {}, {})


class TestTls:
    def test_what_is_offered(self) -> None:
        found = tls.finding(PLACE, tls.parse(samples.TESTSSL), quick=False)
        assert (found.what, found.before) == ("Redis, port 6380", "in clear")
        assert found.after == "TLS 1.2, TLS 1.3; 0 critical, 1 high, 0 medium, 0 low"
        assert found.verdict == "ok"
        assert [each["id"] for each in found.data["findings"]] == ["cipher_order"]

    def test_a_grade_where_there_is_one(self) -> None:
        results = [
            *tls.parse(samples.TESTSSL),
            {"id": "overall_grade", "severity": "OK", "finding": "A"},
        ]
        assert "; grade A; " in tls.finding(PLACE, results, quick=False).after

    def test_too_old_a_protocol_fails(self) -> None:
        old = samples.TESTSSL.replace(
            '"INFO",\n              "finding"      : "not offered"', '"LOW", "finding": "offered"'
        )
        found = tls.finding(PLACE, tls.parse(old), quick=True)
        assert found.after == "TLS 1.0, TLS 1.2, TLS 1.3"
        assert found.verdict == "FAILED"
        assert found.problems == ("offers TLS 1.0: nothing below TLS 1.2 should be",)

    def test_what_is_critical_fails(self) -> None:
        found = tls.finding(PLACE, tls.parse(samples.TESTSSL.replace('"HIGH"', '"CRITICAL"')), quick=True)
        assert found.problems == ("cipher_order: NOT a cipher order configured",)

    @pytest.mark.parametrize(
        ("instead", "why"),
        [
            ("", "cut off after 600 s"),
            (samples.UNREACHABLE, "Can't connect to '10.214.5.11:6380'"),
        ],
    )
    def test_an_answer_that_ends_early_is_no_success(self, instead: str, why: str) -> None:
        cut = samples.TESTSSL[: samples.TESTSSL.index('"scanTime"')]
        found = tls.finding(PLACE, [*tls.parse(cut), *tls.parse(instead)], quick=False)
        assert found.after.endswith("unfinished")
        assert found.verdict == "note"
        assert found.data["unfinished"] == why

    def test_nobody_there(self) -> None:
        found = tls.finding(PLACE, tls.parse(samples.UNREACHABLE), quick=True)
        assert (found.after, found.verdict) == ("unfinished", "FAILED")
        assert "Can't connect" in found.problems[0]

    def test_nothing_seen_is_no_success(self) -> None:
        assert tls.finding(PLACE, [], quick=True).verdict == "FAILED"

    def test_a_firewall_may_be_between(self) -> None:
        found = tls.out_of_reach(PLACE, TimeoutError("timed out"))
        assert (found.after, found.verdict) == ("out of reach from here", "note")

    def test_in_clear_is_a_choice(self) -> None:
        assert tls.in_clear(PLACE).verdict == "note"

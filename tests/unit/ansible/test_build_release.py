"""build-release: what goes into a release, and what makes it another one."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def script() -> ModuleType:
    path = str(Path(__file__).resolve().parents[3] / "scripts" / "build-release")
    loader = importlib.machinery.SourceFileLoader("build_release", path)
    spec = importlib.util.spec_from_loader("build_release", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    loader.exec_module(module)
    return module


build = script()
LOCK = """\
# made by a resolver
celery==5.7.0 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
    # via taskapp
async-timeout==5.0.1 ; python_full_version < '3.11.3' \\
    --hash=sha256:cccc
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:dddd
redis[hiredis]==8.1.0 \\
    --hash=sha256:eeee
"""


def test_markers_are_those_of_the_target() -> None:
    assert build.locked_requirements(LOCK, "3.11.2", "x86_64") == [
        "celery==5.7.0 --hash=sha256:aaaa --hash=sha256:bbbb",
        "async-timeout==5.0.1 --hash=sha256:cccc",
        "redis[hiredis]==8.1.0 --hash=sha256:eeee",
    ]
    names = [pin.split("==")[0] for pin in build.locked_requirements(LOCK, "3.13.5", "x86_64")]
    assert names == ["celery", "redis[hiredis]"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("celery==5.7.0", "is not locked"),
        ("celery>=5.7 --hash=sha256:aa", "is not locked"),
        ("celery --hash=sha256:aa", "is not locked"),
        ("celery==5.* --hash=sha256:aa", "is not locked"),
        ("-r other.txt", "option '-r'"),
        ("--index-url https://example.org", "option '--index-url'"),
    ],
)
def test_an_unlocked_requirement_is_refused(line: str, words: str) -> None:
    with pytest.raises(build.BuildError, match=words):
        build.locked_requirements(line + "\n", "3.11.2", "x86_64")


def test_the_id_follows_content_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "pkg").mkdir(parents=True)
        (tmp_path / name / "pkg" / "a.py").write_text("x = 1\n")
    assert build.fingerprint([tmp_path / "one"]) == build.fingerprint([tmp_path / "two"])
    (tmp_path / "two" / "__pycache__").mkdir()
    (tmp_path / "two" / "__pycache__" / "a.pyc").write_text("")
    assert build.fingerprint([tmp_path / "one"]) == build.fingerprint([tmp_path / "two"])
    (tmp_path / "two" / "pkg" / "a.py").write_text("x = 2\n")
    assert build.fingerprint([tmp_path / "one"]) != build.fingerprint([tmp_path / "two"])
    (tmp_path / "two" / "pkg" / "a.py").rename(tmp_path / "two" / "pkg" / "b.py")
    (tmp_path / "two" / "pkg" / "b.py").write_text("x = 1\n")
    assert build.fingerprint([tmp_path / "one"]) != build.fingerprint([tmp_path / "two"]), (
        "a name is content, too"
    )


def test_ids_are_for_people(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "My-App"\nversion = "1.2"\n')
    assert build.name_and_version(tmp_path) == "my_app_1.2"
    assert build.name_and_version(Path("my_app-1.2-py3-none-any.whl")) == "my_app_1.2"
    assert build.name_and_version(Path("my-app-1.2.tar.gz")).startswith("my")


LOCKED = (
    "celery==5.7.0 --hash=sha256:aa\nclick==8.5.1 --hash=sha256:cc\nredis[hiredis]==8.1.0 --hash=sha256:bb\n"
)
PROJECT = '[project]\nname = "shop"\nversion = "1.0"\n'


def planned(source: Any, out: Path, requirements: Path | None = None) -> dict[str, Any]:
    """What would be built of a source."""
    (found,) = build.releases(source, requirements, ["3.11.2-x86_64"], out, id_only=True)
    return dict(found)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a lock."""
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "pyproject.toml").write_text(PROJECT)
    (directory / "requirements.txt").write_text(LOCKED)
    return directory


class TestLock:
    def test_of_the_source_unless_another_one_is_named(self, project: Path, tmp_path: Path) -> None:
        before = planned(build.local_source(project), tmp_path)["id"]
        other = tmp_path / "other.txt"
        other.write_text(LOCKED.replace("8.1.0", "8.0.0"))
        assert planned(build.local_source(project), tmp_path, other)["id"] != before
        other.write_text(LOCKED)
        assert planned(build.local_source(project), tmp_path, other)["id"] == before

    def test_of_an_sdist_is_in_it(self, tmp_path: Path) -> None:
        sdist = tmp_path / "shop-1.0.tar.gz"
        with tarfile.open(sdist, "w:gz") as tar:
            member = tarfile.TarInfo("shop-1.0/requirements.txt")
            member.size = len(LOCKED)
            tar.addfile(member, io.BytesIO(LOCKED.encode()))
        assert planned(build.local_source(sdist), tmp_path)["id"].startswith("shop_1.0-")

    @pytest.mark.parametrize(
        ("lock", "words"),
        [
            ("redis==8.1.0 --hash=sha256:bb\n", "the lock has no celery, which workers need"),
            (LOCKED.replace("redis[hiredis]", "valkey"), "the lock has no redis"),
            (
                LOCKED.replace("5.7.0", "5.4.0"),
                "the lock has celery 5.4.0, and workers need celery<5.8,>=5.7",
            ),
            ("celery==5.7.0\n", "is not locked"),
        ],
    )
    def test_is_refused_when_workers_could_not_start(
        self, project: Path, tmp_path: Path, lock: str, words: str
    ) -> None:
        (project / "requirements.txt").write_text(lock)
        with pytest.raises(build.BuildError, match=re.escape(words)):
            planned(build.local_source(project), tmp_path)

    def test_has_to_be_named_for_a_wheel(self, tmp_path: Path) -> None:
        wheel = tmp_path / "shop-1.0-py3-none-any.whl"
        wheel.write_bytes(b"")
        with pytest.raises(build.BuildError, match="celery_app_requirements"):
            planned(build.local_source(wheel), tmp_path)


def test_what_cannot_be_built_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(build.BuildError, match="does not exist: check celery_app_source"):
        build.local_source(tmp_path / "nothing")
    (project / "pyproject.toml").unlink()
    with pytest.raises(build.BuildError, match=r"has no pyproject\.toml"):
        planned(build.local_source(project), tmp_path)
    (tmp_path / "shop.rpm").write_text("")
    with pytest.raises(build.BuildError, match="no wheel"):
        planned(build.local_source(tmp_path / "shop.rpm"), tmp_path)


class TestGit:
    @pytest.fixture
    def repository(self, project: Path) -> Path:
        """A repository whose project is in the directory `service`; tag v1 is one commit, branch main another."""
        root = project.parent / "repository"
        root.mkdir()
        self.git(root, "init", "--quiet", "--initial-branch=main")
        project.rename(root / "service")
        self.commit(root, "first")
        self.git(root, "tag", "--annotate", "--message=one", "v1")
        (root / "service" / "shop.py").write_text("x = 2\n")
        self.commit(root, "second")
        return root

    @staticmethod
    def git(root: Path, *arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(root), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, root: Path, message: str) -> None:
        self.git(root, "add", "--all")
        self.git(root, "commit", "--quiet", f"--message={message}")

    @staticmethod
    def checkout(address: str, tmp_path: Path) -> Any:
        directory = Path(tempfile.mkdtemp(dir=tmp_path)) / "source"
        return build.Repository.parse(address).checkout(tmp_path / "cache", directory)

    def test_a_ref_is_resolved_to_its_commit(self, repository: Path, tmp_path: Path) -> None:
        url = f"git+file://{repository}"
        for ref, commit in (
            ("@v1", self.git(repository, "rev-parse", "v1^{commit}")),
            ("@main", self.git(repository, "rev-parse", "main")),
            ("", self.git(repository, "rev-parse", "main")),
            (f"@{self.git(repository, 'rev-parse', 'main~1')}", self.git(repository, "rev-parse", "main~1")),
        ):
            source = self.checkout(f"{url}{ref}#subdirectory=service", tmp_path)
            assert source.commit == commit, ref
            assert (source.path / "shop.py").exists() == (commit == self.git(repository, "rev-parse", "main"))

    def test_the_id_follows_the_commit(self, repository: Path, tmp_path: Path) -> None:
        address = f"git+file://{repository}@main#subdirectory=service"
        first = planned(self.checkout(address, tmp_path), tmp_path)
        assert first["id"].startswith("shop_1.0-")
        assert first["commit"] == self.git(repository, "rev-parse", "main")
        assert planned(self.checkout(address, tmp_path), tmp_path)["id"] == first["id"]
        (repository / "service" / "shop.py").write_text("x = 3\n")
        assert planned(self.checkout(address, tmp_path), tmp_path)["id"] == first["id"], "nobody committed it"
        self.commit(repository, "third")
        assert planned(self.checkout(address, tmp_path), tmp_path)["id"] != first["id"]

    def test_a_lock_may_be_named_within_the_repository(self, repository: Path, tmp_path: Path) -> None:
        (repository / "service" / "requirements.txt").rename(repository / "service" / "worker.txt")
        self.commit(repository, "moved")
        source = self.checkout(f"git+file://{repository}#subdirectory=service", tmp_path)
        assert planned(source, tmp_path, Path("worker.txt"))["id"]
        with pytest.raises(build.BuildError, match="celery_app_requirements"):
            planned(source, tmp_path)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (("#", "@gone#"), "has no branch and no tag gone"),
            (("#", f"@{'a' * 40}#"), f"has no commit {'a' * 40}"),
            (("/repository", "/nowhere"), "git cannot read the source"),
            (("=service", "=other"), "has no directory other"),
            (("=service", "=../.."), "is not in the repository"),
            (("file://", "https://me:s3cret@"), "has a password in it"),
            (("#subdirectory=service", ""), "the repository has no pyproject.toml"),
        ],
    )
    def test_what_is_wrong_is_told(
        self, repository: Path, tmp_path: Path, change: tuple[str, str], words: str
    ) -> None:
        address = f"git+file://{repository}#subdirectory=service".replace(*change)
        with pytest.raises(build.BuildError, match=words) as told:
            planned(self.checkout(address, tmp_path), tmp_path)
        assert "s3cret" not in str(told.value)


def wheel(directory: Path, name: str, version: str, *needs: str) -> None:
    """A wheel without content."""
    head = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(
            f"{name}-{version}.dist-info/METADATA",
            head + "".join(f"Requires-Dist: {need}\n" for need in needs),
        )


class TestAddition:
    TRACING = "tracer==2.0 --hash=sha256:11\nproto==7.0 --hash=sha256:22\nclick==9.9 --hash=sha256:33\n"

    @pytest.fixture
    def tracing(self, tmp_path: Path) -> Path:
        (tmp_path / "tracing.txt").write_text(self.TRACING)
        return tmp_path / "tracing.txt"

    def test_it_makes_another_release(self, project: Path, tmp_path: Path, tracing: Path) -> None:
        def identity(**more: Any) -> str:
            target = ["3.11.2-x86_64"]
            (found,) = build.releases(build.local_source(project), None, target, tmp_path, True, **more)
            return str(found["id"])

        before, traced = identity(), identity(addition=tracing)
        assert before != traced == identity(addition=tracing)
        tracing.write_text(self.TRACING.replace("2.0", "2.1"))
        assert identity(addition=tracing) not in (before, traced)

    def test_what_the_app_has_locked_stays(self) -> None:
        app, more = (build.locked_requirements(text, "3.11.2", "x86_64") for text in (LOCKED, self.TRACING))
        pins = [pin.split(" ")[0] for pin in build.with_addition(app, more)]
        assert pins == ["celery==5.7.0", "click==8.5.1", "redis[hiredis]==8.1.0", "tracer==2.0", "proto==7.0"]

    @pytest.mark.parametrize(
        ("needs", "words"),
        [
            (["proto>=6,<8", "click", 'old-thing; python_version < "3"', 'extra-thing; extra == "x"'], ""),
            (["proto>=8"], "tracer 2.0 needs proto>=8, and the app's lock has proto 7.0"),
            (
                ["click>=9"],
                r"tracer 2.0 needs click>=9, and the app's lock has click 8.5.1.*celery_tracing: false",
            ),
            (["other-thing"], "tracer 2.0 needs other-thing, and nothing has locked that"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, needs: list[str], words: str, tmp_path: Path, tracing: Path
    ) -> None:
        wheel(tmp_path, "tracer", "2.0", *needs)
        wheel(tmp_path, "proto", "7.0")
        wheel(tmp_path, "click", "8.5.1")
        wheel(tmp_path, "shop", "1.0", "unknown-thing")  # the app's own affair
        arguments = tracing, {"tracer", "proto", "click"}, tmp_path, "3.11.2", "x86_64"
        if not words:
            build.check_addition(*arguments)
            return
        with pytest.raises(build.BuildError, match=words):
            build.check_addition(*arguments)

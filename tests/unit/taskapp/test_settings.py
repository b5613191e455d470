import re
from pathlib import Path

import pytest

import taskapp
from taskapp.errors import FatalError
from taskapp.settings import PREFIX, Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings.smtp_host is None
    assert settings.http_timeout == 10
    assert settings.applications == []


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environment({"TASKAPP_SMTP_PORT": "", "TASKAPP_WEBHOOK_URL": ""}).smtp_port == 25


def test_values_are_typed() -> None:
    settings = Settings.from_environment(
        {
            "TASKAPP_STATE_DIR": "/srv/state",
            "TASKAPP_SMTP_STARTTLS": "true",
            "TASKAPP_APPLICATIONS": '[{"id": "shop", "health_url": "http://shop/health"}]',
        }
    )
    assert settings.targets_dir == Path("/srv/state/targets")
    assert settings.smtp_starttls is True
    assert settings.applications[0].health_url == "http://shop/health"


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"STATE_DIRECTORY": "/var/lib/celery:/var/lib/other"}, "/var/lib/celery/taskapp"),
        ({"XDG_STATE_HOME": "/home/me/state"}, "/home/me/state/taskapp"),
    ],
)
def test_the_state_directory_is_the_services_else_the_users(
    environment: dict[str, str], directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment({}).state_dir == Path(directory)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_PORT", "65536"),
        ("SMTP_PORT", "mail"),
        ("HTTP_TIMEOUT", "0"),
        ("WEBHOOK_URL", "ftp-nothing"),
        ("APPLICATIONS", "[{"),
        ("APPLICATIONS", '[{"id": "../up", "health_url": "http://x"}]'),
        ("MAIL_FROM", "nobody"),
    ],
)
def test_every_bad_variable_is_named_and_its_value_is_not_told(name: str, value: str) -> None:
    with pytest.raises(FatalError, match=f"{PREFIX}{name}") as error:
        Settings.from_environment({PREFIX + name: value, PREFIX + "DEMO_TIMEOUT": "-1"})
    assert f"{PREFIX}DEMO_TIMEOUT" in str(error.value)
    assert len(value) < 2 or value not in str(error.value)


def test_the_readme_lists_exactly_the_settings_there_are() -> None:
    readme = (Path(taskapp.__file__).parent / "README.md").read_text()
    listed = re.findall(rf"^\| `{PREFIX}(\w+)`", readme, re.MULTILINE)
    assert sorted(name.lower() for name in listed) == sorted(Settings.model_fields)

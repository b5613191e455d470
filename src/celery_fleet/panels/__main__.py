"""`python -m celery_fleet.panels DIRECTORY` writes Grafana's files of all dashboards."""

import sys
from pathlib import Path

from . import DASHBOARDS
from .grafana import generated


def main(directory: Path) -> None:
    """Files of dashboards that are no more are removed."""
    files = generated(DASHBOARDS)
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*.json"):
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (directory / name).write_text(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

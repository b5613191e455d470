"""Styles, scripts and images. Their address carries a digest of them all: caches keep them until one changes."""

import hashlib
from functools import cache
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

ROOT = Path(__file__).parent.parent / "static"
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_FIRST = "no-cache"


@cache
def digest(root: Path = ROOT) -> str:
    """Changes with any file below `root`."""
    found = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        found.update(path.relative_to(root).as_posix().encode() + b"\0")
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def address(path: str) -> str:
    """Where a browser finds a file.

    Scripts that import one another by relative paths stay below the same digest.
    """
    return f"/static/{digest()}/{path}"


class Assets(StaticFiles):
    """Serves `/<digest>/css/base.css` as `/css/base.css`."""

    def __init__(self) -> None:
        super().__init__(directory=ROOT)

    def get_path(self, scope: Scope) -> str:
        path = super().get_path(scope)
        return path.removeprefix(f"{digest()}/")

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        current = super().get_path(scope).startswith(f"{digest()}/")
        response.headers["Cache-Control"] = _FOR_EVER if current else _ASK_FIRST
        return response

"""Routes below `/api/v1` that older clients call without it."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter


def with_alias(router: APIRouter, path: str, route: Callable[..., Any], method: str, **options: Any) -> None:
    """The route at `/api/v1` and the path, and at the path alone, which is not in the OpenAPI document."""
    router.add_api_route(f"/api/v1{path}", route, methods=[method], **options)
    router.add_api_route(path, route, methods=[method], include_in_schema=False, **options)

"""What goes wrong, in one shape: for JSON routes as it is, for pages as a page that says the same."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import redis
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from kombu.exceptions import KombuError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .models.common import ErrorBody, FieldProblem

log = logging.getLogger(__name__)

LOGIN = "/ui/login"


class Problem(HTTPException):
    """An answer that is an error. `detail` is for people, `code` for programs; `extra` goes into the body."""

    status = 400
    code = "bad_request"

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        code: str = "",
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status or self.status, detail, dict(headers) if headers else None)
        self.code = code or self.code
        self.errors = tuple(errors)
        self.extra = dict(extra or {})


class NotFound(Problem):
    """Nobody knows it."""

    status, code = 404, "not_found"


class Conflict(Problem):
    """Not as things are now."""

    status, code = 409, "conflict"


class Invalid(Problem):
    """The request itself is wrong; `errors` say which of its fields."""

    status, code = 422, "invalid"


class Unauthenticated(Problem):
    """Nobody knows who asks."""

    status, code = 401, "unauthenticated"


class Refused(Problem):
    """Who asks may not do that."""

    status, code = 403, "forbidden"


class Unavailable(Problem):
    """What is needed for an answer is away."""

    status, code = 503, "unavailable"


_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}

_UNSHOWN = frozenset({"body", "query", "path", "header", "cookie"})


def may_answer(status: int, description: str) -> dict[int | str, dict[str, Any]]:
    """For `responses` of a route: an error that it may answer with, beside those of every route."""
    return {status: {"model": ErrorBody, "description": description}}


def answer(request: Request, problem: Problem) -> Response:
    """The response that tells a problem: a page to people, JSON to programs."""
    body = ErrorBody(
        detail=str(problem.detail),
        code=problem.code,
        request_id=request.scope.get("state", {}).get("request_id", ""),
        errors=[FieldProblem(field=field, message=text) for field, text in problem.errors] or None,
        **problem.extra,
    )
    path = request.url.path
    if path == "/ui" or path.startswith("/ui/"):
        if problem.status_code == 401 and request.method == "GET" and path != LOGIN:
            target = path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"{LOGIN}?next={quote(target)}", 303)
        page: Response = request.app.state.error_page(
            request, problem.status_code, body.detail, body.request_id, body.errors or ()
        )
        page.headers.update(problem.headers or {})
        return page
    return JSONResponse(body.model_dump(mode="json", exclude_none=True), problem.status_code, problem.headers)


def internal(request: Request, error: Exception) -> Response:
    """For what nobody has foreseen. The log has the rest."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    problem = Problem(
        "The console has failed; its log has the reason, under this request id.", status=500, code="internal"
    )
    return answer(request, problem)


def handle_errors(app: FastAPI) -> None:
    """Puts every error of the app into the one shape."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(redis.RedisError, _no_redis)
    app.add_exception_handler(KombuError, _no_redis)
    app.add_exception_handler(ConnectionError, _no_redis)
    app.add_exception_handler(TimeoutError, _no_redis)
    app.add_exception_handler(RecursionError, _too_deep)


def without_redis(error: Exception) -> Problem:
    """What to say when Redis does not do what it was asked for."""
    headers = {"Retry-After": "2"}
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return Unavailable(
            "Redis is full and takes nothing more: raise redis_maxmemory, or delete results and dead letters.",
            code="redis_full",
            headers=headers,
        )
    if isinstance(error, redis.exceptions.NoPermissionError):
        return Unavailable(f"The console's Redis user may not do that: {error}.", code="redis_refuses")
    if isinstance(error, redis.ResponseError):
        return Unavailable(f"Redis answers with an error: {error}.", code="redis_error", headers=headers)
    return Unavailable(
        f"Redis does not answer ({text}). Tasks that run go on; try again, and look at "
        "`systemctl status redis-server` on its host.",
        code="redis_away",
        headers=headers,
    )


def _http(request: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        return answer(request, error)
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    status, detail = error.status_code, str(error.detail)
    if status == 404:
        detail = f"there is nothing at {request.url.path}; /api/v1/openapi.json says what there is"
    elif status == 405:
        detail = f"{request.url.path} takes no {request.method}"
    code = _CODES.get(status, f"http_{status}")
    return answer(request, Problem(detail, status=status, code=code, headers=error.headers))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    found = dict(_field_problem(each) for each in error.errors())
    told = "; ".join(f"{field}: {text}" if field else text for field, text in found.items())
    return answer(request, Invalid(f"the request is not valid: {told}", errors=list(found.items())))


def _field_problem(error: Mapping[str, Any]) -> tuple[str, str]:
    """Field and message, without pydantic's words for members of a union."""
    place = [str(part) for part in error["loc"]]
    if place and place[0] in _UNSHOWN:
        place = place[1:]
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "json_invalid":
        return "", f"the body is no JSON: {error.get('ctx', {}).get('error', text)}"
    if error["type"] == "extra_forbidden":
        text = "no such field"
    elif error["type"] == "missing" and not place:
        text = "the request needs a JSON body"
    if place and place[0] == "priority":
        return "priority", "Input should be 'normal', 'high' or a number from 1 to 10"
    # The field comes first; deeper down there may be pydantic's names of the members of a union.
    return ".".join(place[:1] + [part for part in place[1:] if not _is_type(part)]), text


def _is_type(part: str) -> bool:
    return not part.replace("_", "").isalnum() or part in ("datetime", "float", "int", "str")


def _too_deep(request: Request, _: Exception) -> Response:
    return answer(request, Invalid("the request is nested too deeply"))


def _no_redis(request: Request, error: Exception) -> Response:
    problem = without_redis(error)
    log.warning("%s %s: %s", request.method, request.url.path, problem.detail)
    return answer(request, problem)

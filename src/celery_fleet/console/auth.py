"""Who asks, and what they may: keys in headers for programs, a signed cookie for browsers.

A key is known by its SHA-256 alone. A session names the key it was begun with and ends with it; what a session
does needs its CSRF token, too, in the header X-CSRF-Token or the form field `csrf`.
"""

import hashlib
import json
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, cast

from fastapi import Depends, Request, Response, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from itsdangerous import BadData, URLSafeTimedSerializer

from .errors import Refused, Unauthenticated
from .limits import Buckets, client_of

log = logging.getLogger(__name__)

VIEWER, OPERATOR = "viewer", "operator"
ROLES = (VIEWER, OPERATOR)

COOKIE = "fleet_session"
SESSION_SECONDS = 12 * 3600
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOK_PERIOD = 2.0
_LONGEST_KEY = 1024
_WRONG_KEY_COST = 10
"""Requests of its rate that a client loses by a wrong key."""


@dataclass(frozen=True)
class Actor:
    """Who asks: the name of a key, and its role."""

    name: str
    role: str

    @property
    def operator(self) -> bool:
        """Whether it may act, and not only look."""
        return self.role == OPERATOR


@dataclass(frozen=True)
class Session:
    """A browser that has logged in."""

    actor: Actor
    csrf: str
    digest: str
    """The start of its key's digest: another key of the same name is not this one."""


@dataclass(frozen=True)
class Key:
    """What is known of a key."""

    sha256: str
    role: str


def read_keys(text: str) -> Mapping[str, Key]:
    """The keys of a keys file. Raises ValueError, whose text has nothing of a key in it."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError("it is no JSON") from error
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object: name -> {sha256, role}")
    return MappingProxyType({name: _key(name, each) for name, each in found.items()})


def _key(name: str, found: object) -> Key:
    digest, role = (found.get("sha256"), found.get("role")) if isinstance(found, dict) else (None, None)
    if not isinstance(digest, str) or len(digest) != 64 or not set(digest.lower()) <= set("0123456789abcdef"):
        raise ValueError(f"{name} has no sha256 of 64 hexadecimal digits")
    if role not in ROLES:
        raise ValueError(f"{name} has no role of {' or '.join(ROLES)}")
    return Key(digest.lower(), str(role))


class Keys:
    """The keys of a file, which may change while the console runs: a file that is wrong changes nothing."""

    def __init__(self, path: Path | None) -> None:
        """Raises ValueError, OSError."""
        self._path = path
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._stamp = self._stamp_now()
        self._keys = self._read()

    def find(self, key: str) -> tuple[str, Key] | None:
        """The name and entry of a key; every entry is compared, so that time tells nothing."""
        digest = hashlib.sha256(key.encode(errors="replace")).hexdigest()
        found = None
        for name, entry in self.current().items():
            if compare_digest(entry.sha256, digest):
                found = (name, entry)
        return found

    def current(self) -> Mapping[str, Key]:
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= _LOOK_PERIOD:
                self._looked = now
                try:
                    stamp = self._stamp_now()
                    if stamp != self._stamp:
                        self._keys, self._stamp = self._read(), stamp
                except (OSError, ValueError) as error:
                    log.error("The keys in %s stay as they were: %s", self._path, error)
            return self._keys

    def _stamp_now(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> Mapping[str, Key]:
        return read_keys(self._path.read_text(encoding="utf-8")) if self._path else MappingProxyType({})


class Gate:
    """Knows the keys and the sessions of one console."""

    def __init__(self, keys: Keys, session_key: str, buckets: Buckets) -> None:
        self._keys = keys
        self._serializer = URLSafeTimedSerializer(session_key, salt="celery-fleet.session")
        self._buckets = buckets

    @classmethod
    def of(cls, keys_file: Path | None, session_key_file: Path | None, buckets: Buckets) -> "Gate":
        """Raises ValueError, OSError."""
        session_key = secrets.token_hex(32)
        if session_key_file is not None:
            session_key = session_key_file.read_text(encoding="utf-8").strip()
            if len(session_key) < 32:
                raise ValueError(f"{session_key_file} has no session key of at least 32 characters")
        return cls(Keys(keys_file), session_key, buckets)

    def actor_of_key(self, key: str, client: str) -> Actor | None:
        """A wrong key costs the client some of its rate."""
        found = self._keys.find(key) if 0 < len(key) <= _LONGEST_KEY else None
        if found is None:
            self._buckets.fine(client, _WRONG_KEY_COST)
            return None
        return Actor(found[0], found[1].role)

    def new_session(self, key: str, client: str) -> Session | None:
        actor = self.actor_of_key(key, client)
        if actor is None:
            return None
        return Session(actor, secrets.token_urlsafe(24), self._keys.current()[actor.name].sha256[:16])

    def session_of(self, cookie: str) -> Session | None:
        try:
            said: Any = self._serializer.loads(cookie, max_age=SESSION_SECONDS)
            name, csrf, digest = str(said["name"]), str(said["csrf"]), str(said["key"])
        except (BadData, KeyError, TypeError):
            return None
        entry = self._keys.current().get(name)
        if entry is None or not compare_digest(entry.sha256[:16], digest):
            return None
        return Session(Actor(name, entry.role), csrf, digest)

    def cookie_of(self, session: Session) -> str:
        said = {"name": session.actor.name, "csrf": session.csrf, "key": session.digest}
        return self._serializer.dumps(said)


def gate_of(request: Request) -> Gate:
    return cast(Gate, request.app.state.gate)


def log_in(request: Request, key: str) -> Session | None:
    """A new session for who has this key, which `begin` hands out. Raises Refused for another site's form."""
    _refuse_other_sites(request)
    return gate_of(request).new_session(key, client_of(request.scope))


def begin(request: Request, response: Response, session: Session) -> None:
    """The browser is logged in from this response on."""
    response.set_cookie(
        COOKIE,
        gate_of(request).cookie_of(session),
        max_age=SESSION_SECONDS,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def end(response: Response) -> None:
    """The browser is logged out from this response on."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")


def actor_of(request: Request) -> Actor:
    """Who asks. Raises Unauthenticated."""
    actor = _identify(request)[0]
    if actor is None:
        raise Unauthenticated(
            "this needs a key of the console: send it in the header X-API-Key or as `Authorization: Bearer`, or log "
            "in at /ui/login",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return actor


def session_of(request: Request) -> Session | None:
    """The browser's session; None: who asks has none."""
    return _identify(request)[1]


def csrf_of(request: Request) -> str:
    """The token for the forms of a page; empty without a session."""
    session = session_of(request)
    return session.csrf if session else ""


def _identify(request: Request) -> tuple[Actor | None, Session | None]:
    state = request.scope.setdefault("state", {})
    if "identity" not in state:
        state["identity"] = _identified(request)
    return cast(tuple[Actor | None, Session | None], state["identity"])


def _identified(request: Request) -> tuple[Actor | None, Session | None]:
    gate = gate_of(request)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    key = request.headers.get("X-API-Key") or (token.strip() if scheme.lower() == "bearer" else None)
    if key is not None:  # who sends a wrong key is not taken for the cookie's owner
        return gate.actor_of_key(key, client_of(request.scope)), None
    session = gate.session_of(request.cookies.get(COOKIE, ""))
    return (session.actor, session) if session else (None, None)


_api_key = APIKeyHeader(
    name="X-API-Key", scheme_name="key", auto_error=False, description="A key of the console."
)
_bearer = HTTPBearer(scheme_name="bearer", auto_error=False, description="The same key as a bearer token.")


async def viewer(
    request: Request,
    _key: Annotated[str | None, Security(_api_key)] = None,
    _token: Annotated[object, Security(_bearer)] = None,
) -> Actor:
    """Dependency: who may look."""
    return actor_of(request)


async def operator(request: Request, actor: Annotated[Actor, Depends(viewer)]) -> Actor:
    """Dependency: who may act, and means to."""
    if not actor.operator:
        raise Refused(
            f"the key {actor.name!r} may look and not act: use one whose role is operator",
            code="not_an_operator",
        )
    session = session_of(request)
    if session is not None and request.method not in _SAFE_METHODS:
        _refuse_other_sites(request)
        await _check_token(request, session)
    return actor


async def own_form(request: Request, actor: Annotated[Actor, Depends(viewer)]) -> Actor:
    """Dependency: who may look, by a form of our own, such as that which logs out."""
    session = session_of(request)
    if session is not None:
        _refuse_other_sites(request)
        await _check_token(request, session)
    return actor


Viewer = Annotated[Actor, Depends(viewer)]
Operator = Annotated[Actor, Depends(operator)]


async def _check_token(request: Request, session: Session) -> None:
    told = request.headers.get("X-CSRF-Token", "")
    if not told and request.headers.get("content-type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        told = str((await request.form()).get("csrf", ""))
    if not compare_digest(told.encode(errors="replace"), session.csrf.encode()):
        raise Refused(
            "this page is older than your session: load it again, then repeat what you did. Programs that use the "
            "cookie send its token in X-CSRF-Token.",
            code="csrf",
        )


def _refuse_other_sites(request: Request) -> None:
    """Browsers say where a request comes from; other programs say nothing."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise Refused("this was sent by a page of another site", code="other_site")

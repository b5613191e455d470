"""One process of the console: an event loop that serves the sockets which `serve.py` hands over."""

import asyncio
import contextlib
import inspect
import ipaddress
import json
import logging
import os
import socket
import ssl
import sys
from collections.abc import Mapping
from typing import Any

import uvicorn

from celery_fleet.install import InstallError
from celery_fleet.service.environment import Environment
from celery_fleet.service.logs import configure_logging
from celery_fleet.service.tls import server_context
from celery_fleet.topology.problem import InvalidTopology

from .application import create_app
from .serve import GRACE
from .settings import Settings

log = logging.getLogger(__name__)

_LAST_CALL = 0.25
"""Seconds between the last connection that is accepted and the end of those that nothing was asked on."""


_HANDSHAKE = 10.0
"""Seconds that a client has for it."""


class Server(uvicorn.Server):
    """uvicorn's, which says every second that it answers, and ends streams before it waits for requests.

    tls: for the sockets that other hosts reach; loopback is served in clear.
    """

    def __init__(
        self, config: uvicorn.Config, streams: Any, beats: int | None, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(config)
        self._streams = streams
        self._beats = beats
        self._tls = tls
        config.callback_notify = self._beat

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        secured = [each for each in sockets or () if self._tls and not _is_loopback(each)]
        await super().startup([each for each in sockets or () if each not in secured])
        loop = asyncio.get_running_loop()
        for each in secured:
            listening = loop.create_server(
                self._protocol,
                sock=each,
                ssl=self._tls,
                ssl_handshake_timeout=_HANDSHAKE,
                backlog=self.config.backlog,
            )
            self.servers.append(await listening)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _beat(self) -> None:
        if self._beats is None:
            return
        state = self.server_state
        figures = {"requests": state.total_requests, "open": len(state.connections)}
        try:
            with contextlib.suppress(BlockingIOError):  # the pipe is full: what is in it says the same
                os.write(self._beats, json.dumps(figures).encode() + b"\n")
        except OSError:  # whoever started this process is gone
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts no more, ends the streams, answers what was asked meanwhile, then waits for running requests."""
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [
            *self.server_state.default_headers,
            (b"connection", b"close"),
        ]
        ended = self._streams.close()
        if inspect.isawaitable(ended):
            await ended
        await asyncio.sleep(_LAST_CALL)
        await super().shutdown(sockets)


def _is_loopback(listening: socket.socket) -> bool:
    """Whether no other host reaches it."""
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return True
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def serve(variables: Mapping[str, str]) -> int:
    """Serves until SIGTERM."""
    sockets = [socket.socket(fileno=int(fd)) for fd in variables["CONSOLE_SOCKETS"].split(",")]
    beats = int(variables["CONSOLE_BEATS"]) if variables.get("CONSOLE_BEATS") else None
    if beats is not None:
        os.set_blocking(beats, False)
    configure_logging(Environment.read(variables), logging.INFO)
    for chatty in ("uvicorn.error", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        tls = server_context(variables, "CONSOLE")
        settings = Settings.read(variables)
        app = create_app(settings)
    except (ValueError, OSError, InvalidTopology, InstallError) as error:
        log.error("The console cannot be started: %s", error)
        return 1
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=GRACE,
        timeout_notify=1,
    )
    server = Server(config, app.state.hub, beats, tls)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets)
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(serve(os.environ))

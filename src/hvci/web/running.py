"""Runs the application until somebody ends it."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from hvci.errors import UsageError
from hvci.web.app import application
from hvci.web.settings import Settings


def run(settings: Settings, tell: Callable[[], None]) -> None:
    """Answer until Ctrl-C; `tell` is called when who asks from now on will be answered."""
    config = uvicorn.Config(
        application(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32_768,
    )
    listening = _listening(settings)
    tell()
    uvicorn.Server(config).run([listening])


def _listening(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except OSError as error:
        told = error.strerror or str(error)
        raise UsageError(f"cannot listen on {settings.host}:{settings.port}: {told}") from error

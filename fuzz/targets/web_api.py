"""The web application: requests with any method, path, header and body, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import served
from choices import Choices


@cache
def _server() -> served.Server:
    return served.Server()


def one(data: bytes) -> None:
    """Up to three requests, one after the other, see `served.py`."""
    server, choose = _server(), Choices(data)
    for _ in range(1 + choose.below(3)):
        asked = server.request(choose)
        served.check(asked, server.ask(asked))


def seeds() -> Iterator[bytes]:
    """Some of each."""
    for number in range(48):
        yield bytes([number % 3, *(i * (2 * number + 1) * 53 % 256 for i in range(60))])

"""What a server is told when it starts: where it listens, whom it answers, how much it takes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

DAY = 24 * 3600


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the server takes before it says no."""

    upload: int = 1 << 30
    """Bytes of one upload."""
    files: int = 2000
    """Files of one upload."""
    stored: int = 20 << 30
    """Bytes of all uploads that are kept."""
    text: int = 1 << 16
    """Bytes of the words of one form."""
    waiting: int = 64
    """Evaluations that wait."""
    at_once: int = 32
    """Uploads that are received at once."""
    idle: float = 15
    """Seconds without a byte of a request that was begun."""
    patience: float = 30
    """Seconds after which an upload has to keep a pace."""
    pace: int = 16_384
    """Bytes a second."""
    age: float = 7 * DAY
    """Seconds after which an upload is deleted; its report stays."""
    seconds: float = 300
    """For one driver or one package."""
    changes: int = 120
    """Changes that one address may ask for in a minute; on loopback the queue is the limit."""
    logins: int = 10
    """Tokens that one address may try in a minute."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One server."""

    host: str
    port: int
    home: Path
    """Folder of uploads and reports."""
    token: str = ""
    """What others must know; empty on loopback, where nobody is asked."""
    names: tuple[str, ...] = ()
    """Further names under which browsers may ask."""
    database: str = ""
    """Results of scans, for the fleet's pages."""
    jobs: int = 1
    limits: Limits = field(default_factory=Limits)

    @property
    def is_local(self) -> bool:
        """Whether only this computer can ask."""
        return is_loopback(self.host)

    @property
    def hosts(self) -> frozenset[str]:
        """What a browser may write into Host."""
        own = ("127.0.0.1", "localhost", "[::1]") if self.is_local else (_bracketed(self.host),)
        plain = [name.lower() for name in (*own, *self.names)]
        return frozenset(name if _has_port(name) else f"{name}:{self.port}" for name in plain)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{_bracketed(self.host)}:{self.port}/"


def is_loopback(host: str) -> bool:
    """Whether an address cannot be reached from another computer."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _has_port(name: str) -> bool:
    return name.rpartition("]")[2].count(":") == 1

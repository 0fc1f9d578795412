"""What a driver package says about a driver in it."""

from __future__ import annotations

from typing import NamedTuple


class Installed(NamedTuple):
    """What a Windows installation says of a driver in it."""

    published: str = ""
    """The name of its package in that Windows, such as "oem3.inf"; empty for none of its own."""
    devices: int | None = None
    """How many devices are bound to it; None where there is no telling."""
    storage: bool = False
    """Whether disks hang on it, so that Windows may not start without it."""
    staged: bool = False
    """Whether it is only kept in the driver store, and no service uses it."""


class Package(NamedTuple):
    """The package of one driver, as its INF describes it."""

    inf: str
    """Path of the INF."""
    service: str
    """Name of the service that it installs for the driver."""
    start: str = ""
    """When the service starts, such as "boot"; empty when the INF does not say."""
    provider: str = ""
    version: str = ""
    """DriverVer: date and version."""
    class_name: str = ""
    hardware_ids: int = 0
    catalogs: tuple[str, ...] = ()
    """Catalogs that the INF names, and that are there."""
    ids: tuple[str, ...] = ()
    """The first of the hardware ids."""
    installed: Installed | None = None
    """Where the driver was found in a Windows installation."""

"""What a driver package says about a driver in it."""

from __future__ import annotations

from typing import NamedTuple


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

"""Lists a folder of drivers by hash, so that figures can be repeated on the same files.

    python bench/collection.py FOLDER            sha256, size, machine, path of each driver
    python bench/collection.py FOLDER --summary  how many of each machine, and one hash for all

The development collection: the drivers of the public repositories ucsb-seclab/popkorn-artifact,
namazso/physmem_drivers and edk2-porting/WOA-Drivers. Its files are never run and never committed.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MACHINES = {0x8664: "x64", 0x014C: "x86", 0xAA64: "arm64", 0x01C4: "arm", 0x0200: "ia64"}


@dataclass(frozen=True)
class Driver:
    path: Path
    sha256: str
    size: int
    machine: str


def machine_of(data: bytes) -> str:
    start = int.from_bytes(data[0x3C:0x40], "little")
    if data[:2] != b"MZ" or data[start : start + 4] != b"PE\0\0":
        return "other"
    return MACHINES.get(int.from_bytes(data[start + 4 : start + 6], "little"), "other")


def drivers(folder: Path) -> Iterator[Driver]:
    """Each driver below a folder once, in order of hash."""
    found = {}
    for path in sorted(folder.rglob("*.sys")):
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        found.setdefault(digest, Driver(path, digest, len(data), machine_of(data)))
    yield from (found[digest] for digest in sorted(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    listed = list(drivers(options.folder))
    if not options.summary:
        for driver in listed:
            print(driver.sha256, f"{driver.size:>9}", f"{driver.machine:<5}", driver.path)
        return
    for machine, count in sorted(Counter(driver.machine for driver in listed).items()):
        print(f"{machine:<6}{count:>6}")
    print(hashlib.sha256("".join(driver.sha256 for driver in listed).encode()).hexdigest())


if __name__ == "__main__":
    main()

"""Changes of a driver image that mean nothing: other bytes that must have the same answers."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

SPECIAL = (b"INIT", b"PAGE", b".rsrc", b".reloc", b".hexpthk", b".a64xrm")
"""Names of sections that Windows or linkers give a meaning."""
CHECKSUM, TIMESTAMP, SECURITY = 64, 8, 4


class Impossible(Exception):
    """The change cannot be made in this image."""


@dataclass
class Image:
    """Places in the headers of an image."""

    data: bytearray

    def __post_init__(self):
        (self.pe,) = struct.unpack_from("<I", self.data, 0x3C)
        count, size = self._numbers("<HxxxxxxxxxxxxH", self.pe + 6)
        self.optional = self.pe + 24
        self.wide = self._numbers("<H", self.optional)[0] == 0x20B
        self.headers = [self.optional + size + 40 * n for n in range(count)]
        self.directories = self.optional + (112 if self.wide else 96)

    def _numbers(self, form, at):
        return struct.unpack_from(form, self.data, at)

    def number(self, at, form="<I"):
        return self._numbers(form, at)[0]

    def put(self, at, value, form="<I"):
        struct.pack_into(form, self.data, at, value)

    def directory(self, index):
        return self._numbers("<2I", self.directories + 8 * index)

    def sections(self):
        """(header, virtual size, RVA, raw size, raw offset) of each section."""
        return [(at, *self._numbers("<4I", at + 8)) for at in self.headers]

    def offset(self, rva):
        """File offset of an RVA; None where the file holds nothing."""
        for _, _, start, size, raw in self.sections():
            if start <= rva < start + size:
                return raw + rva - start
        return None

    @property
    def end(self):
        """Where the last section ends in the file."""
        return max((raw + size for _, _, _, size, raw in self.sections()), default=0)


def checksum(image, rng):
    """Another checksum."""
    image.put(image.optional + CHECKSUM, rng.getrandbits(32))


def timestamp(image, rng):
    """Another time of the build."""
    image.put(image.pe + TIMESTAMP, rng.getrandbits(31))


def overlay(image, rng):
    """Bytes behind the image, where no certificate stands."""
    if image.directory(SECURITY)[1]:
        raise Impossible
    image.data += rng.randbytes(1 + rng.randrange(5000))


def stripped(image, rng):
    """No certificate."""
    at, size = image.directory(SECURITY)
    if not size or at < image.end:
        raise Impossible
    del image.data[at:]
    struct.pack_into("<2I", image.data, image.directories + 8 * SECURITY, 0, 0)


def padding(image, rng):
    """Bytes between the headers and the first section in the file, which nothing maps."""
    start = min((raw for _, _, _, size, raw in image.sections() if size), default=0)
    unit = max(image.number(image.optional + 36), 0x200)
    if image.directory(SECURITY)[1] or start < image.number(image.optional + 60):
        raise Impossible
    image.data[start:start] = rng.randbytes(unit)
    for at, _, _, size, raw in image.sections():
        if size:
            image.put(at + 20, raw + unit)


def names(image, rng):
    """Other names of sections, but of those that mean something."""
    for at in image.headers:
        name = bytes(image.data[at : at + 8])
        if not name.upper().startswith(SPECIAL) and not name.startswith(SPECIAL):
            image.data[at : at + 8] = b".q" + bytes(rng.choices(b"abcdefgh", k=4)) + b"\0\0"


def order(image, rng):
    """Contents of the sections in another order in the file."""
    held = [(at, bytes(image.data[raw : raw + size])) for at, _, _, size, raw in image.sections()]
    held = [(at, content) for at, content in held if content]
    start = min(raw for _, _, _, size, raw in image.sections() if size)
    if image.directory(SECURITY)[1] or image.end > len(image.data) or len(held) < 2:
        raise Impossible
    if sum(len(content) for _, content in held) != image.end - start:
        raise Impossible
    behind = bytes(image.data[image.end :])
    del image.data[start:]
    rng.shuffle(held)
    for at, content in held:
        image.put(at + 20, len(image.data))
        image.data += content
    image.data += behind


def base(image, rng):
    """Another preferred address, with everything moved that is relocated."""
    rva, size = image.directory(5)
    at = image.offset(rva)
    if at is None or image.number(image.pe + 22, "<H") & 1 or not size:
        raise Impossible
    form, place = ("<Q", image.optional + 24) if image.wide else ("<I", image.optional + 28)
    delta = 0x10000 * (1 + rng.randrange(256))
    end = at + size
    while at + 8 <= end:
        page, length = struct.unpack_from("<2I", image.data, at)
        if length < 8:
            break
        for where in range(at + 8, at + length, 2):
            entry = image.number(where, "<H")
            kind, target = entry >> 12, image.offset(page + (entry & 0xFFF))
            if kind == 0:
                continue
            if kind != (10 if image.wide else 3) or target is None:
                raise Impossible
            most = (1 << 8 * struct.calcsize(form)) - 1
            image.put(target, image.number(target, form) + delta & most, form)
        at += length
    image.put(place, image.number(place, form) + delta, form)


def imports(image, rng):
    """Imported modules in another order."""
    rva, _ = image.directory(1)
    at = image.offset(rva)
    if at is None:
        raise Impossible
    rows = []
    while any(row := bytes(image.data[at + 20 * len(rows) : at + 20 * len(rows) + 20])):
        rows.append(row)
    if len(rows) < 2:
        raise Impossible
    image.data[at : at + 20 * len(rows)] = b"".join(reversed(rows))


MEANINGLESS = (checksum, timestamp, overlay, stripped, padding, names, order, base, imports)
NOTES = {order: "unusual-layout"}
"""A note that says so."""


def changed(data, change, seed=0):
    """The image with a change; None where it cannot be made."""
    image = Image(bytearray(data))
    try:
        change(image, random.Random(seed))
    except Impossible:
        return None
    return bytes(image.data)


def answers(report, change=None):
    """What a report says of the driver: no names of files, no bytes, no times."""
    told = []
    for result in report.results:
        if result.rule == NOTES.get(change):
            continue
        places = sorted(getattr(one.site, "rva", -1) for one in result.findings)
        told.append((result.rule, result.outcome, places))
    calls = sorted((one.call.site.rva, one.call.ddi, str(one.executable)) for one in report.calls)
    limits = sorted((sorted(limit.rules), limit.reason) for limit in report.limits)
    return {
        "verdict": report.verdict,
        "answers": report.answers,
        "rules": told,
        "calls": calls,
        "limits": limits,
    }

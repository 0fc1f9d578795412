"""PDBs of an image and the debug directory that names them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from answers import BUILT, answer_or_sentence, written
from choices import Choices

from hvci.binary.symbols import with_symbols
from hvci.evaluate import Options, evaluate
from hvci.model import Evidence, ImageSite, Limit, Origin, Rva

NAME = "sample_bad.x64.o2"
_image = (BUILT / f"{NAME}.sys").read_bytes()
_pdb = (BUILT / f"{NAME}.pdb").read_bytes()
_report = evaluate(_image, Options())
_image_facts = _report.image
assert _image_facts is not None
assert _image_facts.debug_id is not None
_SITES = [judged.call.site for judged in _report.calls if isinstance(judged.call.site, ImageSite)]
INTERESTING = (0, 1, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def one(data: bytes) -> None:
    """Places and values to overwrite in the PDB, and where to cut it."""
    choose = Choices(data)
    pdb = bytearray(_pdb)
    for _ in range(choose.below(12)):
        block = choose.below(len(pdb) // 0x1000) if choose.below(4) else 0
        at = min(len(pdb) - 4, 0x1000 * block + choose.below(0x1000))
        value = choose.number(4) if choose.below(2) else choose.pick(INTERESTING)
        struct.pack_into("<I", pdb, at, value)
    cut = len(pdb) if choose.below(8) else choose.below(0x10000)
    path = written(f"{NAME}.pdb", bytes(pdb[:cut]))
    places = (ImageSite(Rva(choose.number(4)), 0), *_SITES)
    limits = tuple(Limit(Origin.IMAGE, (), "x", site) for site in places)
    evidence = Evidence(frozenset({Origin.IMAGE}), _report.target_os, _image_facts, limits=limits)
    with answer_or_sentence():
        with_symbols(evidence, (str(path.parent),), True)


def seeds() -> Iterator[bytes]:
    """Nothing changed, and something."""
    yield b""
    yield bytes(i * 53 % 256 for i in range(100))

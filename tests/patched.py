"""Built drivers with other code at their entry point."""

from pathlib import Path

from hvci.binary import PeImage

BUILT = Path(__file__).parent / "fixtures" / "built"


def starts_with(name, code, section_flags=0):
    """A built driver whose entry point is this code, in a section with these flags added."""
    data = bytearray((BUILT / name).read_bytes())
    image = PeImage(bytes(data))
    entry = image.headers.entry
    index = next(i for i, section in enumerate(image.sections) if section.holds(entry))
    section = image.sections[index]
    at = entry - section.rva + section.raw_offset
    data[at : at + len(code)] = code
    pe = int.from_bytes(data[0x3C:0x40], "little")
    flags = pe + 24 + int.from_bytes(data[pe + 20 : pe + 22], "little") + 40 * index + 36
    value = int.from_bytes(data[flags : flags + 4], "little") | section_flags
    data[flags : flags + 4] = value.to_bytes(4, "little")
    return bytes(data)

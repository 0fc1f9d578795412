"""A driver whose bytes were changed anywhere is read or refused, within bounds, always the same."""

import struct
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import build
from clock import Clock
from hvci.errors import InputError
from hvci.evaluate import evaluate

SECONDS = 10.0
"""Far more than any driver of this size takes; a runaway takes minutes."""
SIZES = (1, 2, 4, 8)
INTERESTING = (0, 1, 7, 8, 0x7F, 0x80, 0xFF, 0xFFF, 0x1000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)

_built = Path(__file__).parents[1] / "fixtures" / "built"
SEEDS = {machine: build.driver(machine) for machine in ("x64", "x86", "arm64")}
for _name in ("bad.x64.o2", "bad.x86.o2", "bad.x86.o0", "bad.arm64.o2"):
    SEEDS[_name] = (_built / f"calls_{_name}.sys").read_bytes()
SEEDS["opt-in"] = (_built / "optin_bad.x64.o2.sys").read_bytes()
names = st.sampled_from(sorted(SEEDS))

patience = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def judged(data):
    """What a report says but for the time it took; None when the image is refused."""
    report, said = None, ""
    with Clock() as clock:
        try:
            report = evaluate(data)
        except InputError as error:
            said = str(error)
    assert clock.seconds < SECONDS
    if report is None:
        assert said
        assert "\n" not in said
        return said
    assert report.verdict in ("compatible", "incompatible", "undecided")
    return replace(report, seconds={})


def edits(lowest, highest):
    """Some (part of the range in 1/65536, size, value) to overwrite."""
    one = st.tuples(
        st.integers(0, 0xFFFF),
        st.sampled_from(SIZES),
        st.sampled_from(INTERESTING) | st.integers(0, (1 << 64) - 1),
    )
    return st.tuples(st.just((lowest, highest)), st.lists(one, min_size=1, max_size=6))


def overwritten(name, change):
    """A driver with a few fields overwritten."""
    data = bytearray(SEEDS[name])
    (lowest, highest), fields = change
    for part, size, value in fields:
        top = min(highest, len(data)) - size
        at = lowest + part * (top - lowest) // 0xFFFF
        data[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return bytes(data)


@patience
@given(names, edits(0, 0x400))
def test_mangled_headers(name, change):
    data = overwritten(name, change)
    assert judged(data) == judged(data)


@patience
@given(names, edits(0x200, 1 << 30))
def test_mangled_content(name, change):
    data = overwritten(name, change)
    assert judged(data) == judged(data)


@patience
@given(names, st.floats(0, 1))
def test_truncation(name, part):
    data = SEEDS[name]
    judged(data[: int(part * len(data))])


@patience
@given(names, st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_removed_and_repeated_pieces(name, parts):
    data = SEEDS[name]
    start, end = (int(part * len(data)) for part in sorted(parts))
    judged(data[:start] + data[end:])
    judged(data[:end] + data[start:])


@patience
@given(st.binary(max_size=0x400))
def test_any_bytes(data):
    judged(data)
    judged(b"MZ" + data)
    judged(build.driver(code=b"\xc3")[:0x80] + data)


@patience
@given(st.binary(min_size=1, max_size=0x1C0), st.sampled_from(["x64", "x86", "arm64"]))
def test_any_code(code, machine):
    judged(build.driver(machine, code=code))


@patience
@given(st.binary(max_size=0x200))
def test_any_relocations(content):
    judged(build.driver(relocations=content))


directories = st.dictionaries(
    st.sampled_from(sorted(build.DIRECTORIES.keys() - {"managed"})),
    st.tuples(
        st.sampled_from(INTERESTING) | st.integers(0, 0x8000),
        st.sampled_from(INTERESTING) | st.integers(0, 0x8000),
    ),
    min_size=1,
)


@patience
@given(st.sampled_from(["x64", "x86", "arm64"]), directories)
def test_any_directories(machine, found):
    judged(build.driver(machine, directories=found))


@patience
@given(
    names,
    st.integers(0, 3),
    st.dictionaries(
        st.sampled_from(sorted(build.SECTION_FIELDS)),
        st.sampled_from(INTERESTING) | st.integers(0, 0x1000_0000),
        min_size=1,
    ),
)
def test_any_section_header(name, index, fields):
    judged(build.patch_section(SEEDS[name], index, **fields))


def test_a_relocation_directory_of_empty_blocks_is_bounded():
    blocks = struct.pack("<II", 0x3000, 8) * 0x4000
    judged(build.driver(relocations=blocks))

"""A driver whose bytes were changed anywhere is read or refused, within bounds, always the same."""

import struct
import time
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import build
from hvci.errors import InputError
from hvci.evaluate import evaluate

SECONDS = 10.0
"""Far more than any driver of this size takes; a runaway takes minutes."""
SIZES = (1, 2, 4, 8)
INTERESTING = (0, 1, 7, 8, 0x7F, 0x80, 0xFF, 0xFFF, 0x1000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)

_built = Path(__file__).parents[1] / "fixtures" / "built"
_wanted = ("calls_bad.x64.o2", "calls_bad.x86.o2", "calls_bad.x86.o0", "optin_bad.x64.o2")
SEEDS = [build.driver(machine) for machine in ("x64", "x86")]
SEEDS += [(_built / f"{name}.sys").read_bytes() for name in _wanted]

patience = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def judged(data):
    """What a report says but for the time it took; None when the image is refused."""
    begin = time.perf_counter()
    try:
        report = evaluate(data)
    except InputError as error:
        assert "\n" not in str(error)
        return str(error)
    finally:
        assert time.perf_counter() - begin < SECONDS
    assert report.verdict in ("compatible", "incompatible", "undecided")
    return replace(report, seconds={})


@st.composite
def overwritten(draw, lowest=0, highest=None):
    """A driver with a few fields overwritten."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        size = draw(st.sampled_from(SIZES))
        top = min(highest or len(data), len(data)) - size
        at = draw(st.integers(lowest, top))
        value = draw(st.sampled_from(INTERESTING) | st.integers(0, (1 << 64) - 1))
        data[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return bytes(data)


@patience
@given(overwritten(highest=0x400))
def test_mangled_headers(data):
    assert judged(data) == judged(data)


@patience
@given(overwritten(lowest=0x200))
def test_mangled_content(data):
    assert judged(data) == judged(data)


@patience
@given(st.sampled_from(SEEDS), st.data())
def test_truncation(data, draw):
    judged(data[: draw.draw(st.integers(0, len(data)))])


@patience
@given(st.sampled_from(SEEDS), st.data())
def test_removed_and_repeated_pieces(data, draw):
    start, end = sorted(draw.draw(st.tuples(*[st.integers(0, len(data))] * 2)))
    judged(data[:start] + data[end:])
    judged(data[:end] + data[start:])


@patience
@given(st.binary(max_size=0x400))
def test_any_bytes(data):
    judged(data)
    judged(b"MZ" + data)
    judged(build.driver(code=b"\xc3")[:0x80] + data)


@patience
@given(st.binary(min_size=1, max_size=0x1C0), st.sampled_from(["x64", "x86"]))
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
@given(st.sampled_from(["x64", "x86"]), directories)
def test_any_directories(machine, found):
    judged(build.driver(machine, directories=found))


@patience
@given(
    st.sampled_from(SEEDS),
    st.integers(0, 4),
    st.dictionaries(
        st.sampled_from(sorted(build.SECTION_FIELDS)),
        st.sampled_from(INTERESTING) | st.integers(0, 0x1000_0000),
        min_size=1,
    ),
)
def test_any_section_header(data, index, fields):
    judged(build.patch_section(data, index, **fields))


def test_a_relocation_directory_of_empty_blocks_is_bounded():
    blocks = struct.pack("<II", 0x3000, 8) * 0x4000
    judged(build.driver(relocations=blocks))

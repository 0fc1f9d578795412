"""The law of the emulated pages: nothing is both writable and executable."""

import pytest
import unicorn

from hvci.verifier.memory import RW, AccessFault, Memory, Rights

CODE, ALIAS, DATA = 0x10000, 0x50000, 0x90000


@pytest.fixture
def memory():
    engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    made = Memory(engine, 8, 0x200_0000)
    made.reserve_inventions()
    return made


@pytest.fixture
def code(memory):
    mapping = memory.map(CODE, 0x2000, RW, "image")
    memory.poke(CODE, b"\xc3")
    memory.seal(CODE, 0x1000)
    return mapping


def test_data_is_read_and_written(memory):
    memory.map(DATA, 0x1000, RW, "data")
    memory.write(DATA + 8, b"abc")
    assert memory.read(DATA + 7, 5) == b"\0abc\0"
    assert memory.u32(DATA + 8) == int.from_bytes(b"abc\0", "little")


def test_sealed_code_is_executable_and_refuses_writes(memory, code):
    assert memory.find(CODE).rights == Rights.READ | Rights.EXECUTE
    with pytest.raises(AccessFault) as caught:
        memory.write(CODE, b"\x90")
    assert caught.value.write
    assert memory.read(CODE, 1) == b"\xc3"


def test_the_page_behind_sealed_code_stays_writable(memory, code):
    memory.write(CODE + 0x1000, b"x")
    assert memory.read(CODE + 0x1000, 1) == b"x"


def test_a_second_mapping_of_code_is_neither_writable_nor_executable(memory, code):
    alias = memory.map(ALIAS, 0x1000, RW, "alias", code.frame)
    assert alias.rights == Rights.READ
    assert memory.read(ALIAS, 1) == b"\xc3"
    with pytest.raises(AccessFault):
        memory.write(ALIAS, b"\x90")


def test_a_second_mapping_of_data_shows_the_same_bytes(memory):
    first = memory.map(DATA, 0x1000, RW, "data")
    memory.map(ALIAS, 0x1000, RW, "alias", first.frame)
    memory.write(ALIAS, b"same")
    assert memory.read(DATA, 4) == b"same"


def test_physical_addresses_lead_back_to_the_frames(memory, code):
    physical = memory.physical(CODE + 5)
    assert memory.frame_of(physical, 1) == code.frame
    assert memory.is_code_frame(memory.frame_of(physical, 1))
    assert memory.frame_of(0, 1) == -1


def test_page_entries_show_rights(memory, code):
    memory.map(DATA, 0x1000, RW, "data")
    assert not memory.page_entry(CODE) & (1 << 63 | 2)
    assert memory.page_entry(DATA) & (1 << 63)
    assert memory.page_entry(DATA) & 2
    assert memory.page_entry(0xDEAD_0000) == 0


def test_inventions_are_zero_counted_and_forgotten(memory):
    assert memory.read(0x7000_0000, 4) == bytes(4)
    assert memory.inventions == 1
    memory.write(0x7000_0000, b"used")
    memory.forget_inventions()
    assert memory.find(0x7000_0000) is None
    assert memory.read(0x7000_0000, 4) == bytes(4)


def test_addresses_wrap_at_the_pointer_size(memory):
    assert memory.read((1 << 64) - 4, 8) == bytes(8)


def test_a_range_of_frames_falls_apart_into_code_and_data(memory, code):
    assert list(memory.runs(code.frame, 0x2000)) == [
        (code.frame, 0x1000),
        (code.frame + 0x1000, 0x1000),
    ]
    assert list(memory.runs(code.frame, 0x1000)) == [(code.frame, 0x1000)]
    assert list(memory.runs(code.frame + 0x1000, 0x1000)) == [(code.frame + 0x1000, 0x1000)]


def test_a_mapping_takes_the_place_of_what_was_invented_there(memory):
    memory.write(ALIAS + 0x10, b"old")
    memory.write(DATA, b"kept")
    memory.map(ALIAS + 0x1000, 0x1000, RW, "device memory")
    assert memory.read(ALIAS + 0x1000, 4) == bytes(4)
    assert memory.find(ALIAS + 0x1000).label == "device memory"
    assert memory.read(ALIAS + 0x10, 3) == bytes(3)
    assert memory.read(DATA, 4) == b"kept"
    memory.forget_inventions()
    assert memory.find(DATA) is None
    assert memory.find(ALIAS + 0x1000).label == "device memory"

"""Objects laid out in memory as a linker does: the same calls and values as in an image."""

import struct

import pytest

import objects
from hvci.binary.objects import examine, linked
from hvci.binary.objects.archive import has_code, members
from hvci.model import NEWEST, SourceSite
from objects import CODE, COMDAT, CONSTANT, DATA, archive, choice, obj, section, symbol, weak

POOL = "ExAllocatePoolWithTag"


def read(data, *machines):
    return examine(data, "a.lib", NEWEST, frozenset(machines), lambda name: True)


def value(found):
    """The pool types of all calls."""
    assert not found.lost
    return [
        (sorted(call.arguments["PoolType"].possible), call.arguments["PoolType"].complete)
        for call in found.calls
    ]


def x64(pool_type, wanted="__imp_" + POOL, big=False):
    """mov ecx, type; jmp [import] or jmp routine."""
    jump = b"\x48\xff\x25" if wanted.startswith("__imp_") else b"\xe9"
    code = b"\xb9" + struct.pack("<I", pool_type) + jump
    part = section(".text", code + bytes(4), moved=[(len(code), 1, 4)])
    return obj("x64", [part], [symbol("Ask", 1), symbol(wanted, 0)], big)


def x86(pool_type, wanted=f"__imp__{POOL}@12"):
    """push tag; push size; push type; call [import] or call routine; ret."""
    code = b"\x68abcd\x6a\x08\x68" + struct.pack("<I", pool_type)
    code += b"\xff\x15" if wanted.startswith("__imp_") else b"\xe8"
    kind = 6 if wanted.startswith("__imp_") else 20
    part = section(".text", code + bytes(4) + b"\xc3", moved=[(len(code), 1, kind)])
    return obj("x86", [part], [symbol("_Ask@0", 1), symbol(wanted, 0)])


def arm64(pool_type, wanted="__imp_" + POOL):
    """mov w0, #type; mov w1, #8; adrp x8; ldr x8, [x8]; br x8, or b routine."""
    words = [0x5280_0000 | pool_type << 5, 0x5280_0101]
    if wanted.startswith("__imp_"):
        words += [0x9000_0008, 0xF940_0108, 0xD61F_0100]
        moved = [(8, 1, 4), (12, 1, 7)]
    else:
        words, moved = [*words, 0x1400_0000], [(8, 1, 3)]
    part = section(".text", struct.pack(f"<{len(words)}I", *words), moved=moved)
    return obj("arm64", [part], [symbol("Ask", 1), symbol(wanted, 0)])


@pytest.mark.parametrize("make", [x64, x86, arm64])
@pytest.mark.parametrize("pool_type", [0, 0x200])
def test_calls_through_the_address_table(make, pool_type):
    found = read(archive(make(pool_type)))
    assert value(found) == [([pool_type], True)]
    (call,) = found.calls
    assert isinstance(call.site, SourceSite)
    assert call.site.function.startswith("Ask+")


@pytest.mark.parametrize(
    ("make", "name"),
    [(x64, POOL), (x86, f"_{POOL}@12"), (arm64, POOL)],
    ids=["x64", "x86", "arm64"],
)
def test_calls_of_the_routine_itself(make, name):
    assert value(read(make(0, name))) == [([0], True)]


def test_an_object_of_many_sections():
    assert value(read(x64(0, big=True))) == [([0], True)]


def test_code_for_other_machines_is_left_out():
    library = archive(x64(0), x86(0x200))
    assert value(read(library, "x86")) == [([0x200], True)]
    assert value(read(library, "x64")) == [([0], True)]
    assert len(read(library, "arm64").calls) == 2
    assert len(read(library).calls) == 2


def wrapper(name, flags=CODE):
    """A function that hands its argument on: jmp [import]."""
    return section(name, b"\x48\xff\x25" + bytes(4), flags, [(3, 1, 4)])


CALL = b"\x48\x83\xec\x28\xb9%b\xe8" + bytes(4) + b"\x48\x83\xc4\x28\xc3"


def caller(pool_type):
    """sub rsp, 28h; mov ecx, type; call Wrapper; add rsp, 28h; ret."""
    code = CALL.replace(b"%b", struct.pack("<I", pool_type))
    part = section(".text", code, moved=[(10, 1, 4)])
    return obj("x64", [part], [symbol("Ask", 1), symbol("Wrapper", 0)])


def helper(kind=3, **more):
    return obj(
        "x64",
        [wrapper(".text")],
        [symbol("Wrapper", 1, kind=kind, **more), symbol("__imp_" + POOL, 0)],
    )


def test_what_callers_elsewhere_pass_is_not_known():
    found = read(archive(caller(0x200), helper(kind=2)))
    ((possible, complete),) = value(found)
    assert 0x200 in possible
    assert not complete


def test_duplicates_are_linked_once():
    def one():
        flags = CODE | COMDAT
        code = [wrapper(".text$a", flags), section(".pdata", bytes(12), CONSTANT | COMDAT)]
        names = [
            symbol(".text$a", 1, kind=3, extra=choice(2)),
            symbol(".pdata", 2, kind=3, extra=choice(5, 1)),
            symbol("Wrapper", 1),
            symbol("__imp_" + POOL, 0),
        ]
        code[0] = (*code[0][:3], [(3, 5, 4)])
        return obj("x64", code, names)

    assert len(read(archive(one(), one())).calls) == 1


def test_a_weak_name_stands_for_its_default():
    code = CALL.replace(b"%b", bytes(4))
    parts = [section(".text", code, moved=[(10, 1, 4)]), wrapper(".text$b")]
    parts[1] = (*parts[1][:3], [(3, 4, 4)])
    names = [
        symbol("Ask", 1),
        symbol("Allocate", 0, kind=105, extra=weak(3)),
        symbol("Default", 2, kind=2),
        symbol("__imp_" + POOL, 0),
    ]
    found = read(obj("x64", parts, names))
    assert 0 in value(found)[0][0]


def test_variables_and_pointers():
    """mov ecx, [Kind]; jmp [import]: a variable with a value, and one without."""
    code = b"\x8b\x0d" + bytes(4) + b"\x48\xff\x25"
    text = section(".text", code + bytes(4), moved=[(2, 2, 4), (9, 1, 4)])
    names = [symbol("Ask", 1), symbol("__imp_" + POOL, 0)]
    stored = section(".data", struct.pack("<IIQ", 0x200, 0, 0), DATA, [(8, 0, 1)])
    ((possible, _),) = value(read(obj("x64", [text, stored], [*names, symbol("Kind", 2, kind=3)])))
    assert possible == [0x200]
    common = obj("x64", [text], [*names, symbol("Kind", 0, value=4)])
    assert len(read(common).calls) == 1
    empty = section(".bss", bytes(4), 0xC050_0080)
    assert len(read(obj("x64", [text, empty], [*names, symbol("Kind", 2)])).calls) == 1


def test_the_slot_of_a_function_of_the_library_is_no_import():
    part = section(".text", b"\xff\x15" + bytes(4) + b"\xc3", moved=[(2, 1, 4)])
    one = obj("x64", [part], [symbol("Ask", 1), symbol("__imp_Wrapper", 0)])
    found = read(archive(one, helper(kind=2)))
    assert [call.ddi for call in found.calls] == [POOL]


def test_comments_and_debug_data_are_no_part_of_it():
    parts = [
        section(".drectve", b"/EXPORT:a", objects.COMMENT),
        section(".debug$S", bytes(8), CONSTANT),
        section(".text", b"\xc3"),
    ]
    found = read(obj("x64", parts, [symbol("Ask", 3), symbol("Gone", 1), symbol("Odd", 9)]))
    assert not (found.calls or found.lost)


def test_unwind_rows_tell_functions_apart():
    code = b"\xc3" + b"\xcc" * 15 + b"\xb9\0\0\0\0\x48\xff\x25" + bytes(4)
    rows = struct.pack("<6I", 16, 28, 0, 0, 1, 0)
    moved = [(0, 0, 3), (4, 0, 3), (8, 2, 3), (12, 0, 3), (16, 0, 3), (20, 2, 3)]
    parts = [
        section(".text", code, moved=[(24, 1, 4)]),
        section(".pdata", rows, CONSTANT, moved),
        section(".xdata", b"\1\0\0\0", CONSTANT),
    ]
    names = [symbol("Nothing", 1), symbol("__imp_" + POOL, 0), symbol("$unwind", 3, kind=3)]
    assert value(read(obj("x64", parts, names))) == [([0], True)]


def test_more_code_than_is_examined(monkeypatch):
    from hvci.binary.objects import linked

    monkeypatch.setattr(linked, "MAX_BYTES", 4)
    assert read(x64(0)).lost == ["more code than is examined"]


@pytest.mark.parametrize(
    ("machine", "kind", "before", "after"),
    [
        ("x64", 1, bytes(8), (0x1_8000_2000).to_bytes(8, "little")),
        ("x64", 2, bytes(4), (0x8000_2000).to_bytes(4, "little")),
        ("x64", 3, b"\4\0\0\0", b"\4\x20\0\0"),
        ("x64", 5, bytes(4), b"\xfb\x0f\0\0"),
        ("x64", 11, bytes(4), bytes(4)),
        ("x86", 7, bytes(4), b"\0\x20\0\0"),
        ("arm64", 15, b"\0\0\0\x54", b"\0\x80\0\x54"),
        ("arm64", 16, b"\0\0\0\x36", b"\0\x80\0\x36"),
        ("arm64", 5, b"\0\0\0\x10", b"\0\x80\0\x10"),
        ("arm64", 6, b"\0\x04\0\x91", b"\0\x04\0\x91"),
        ("arm64", 7, b"\0\0\x80\x3d", b"\0\0\x80\x3d"),
        ("arm64", 17, bytes(4), b"\xfc\x0f\0\0"),
    ],
)
def test_relocations(machine, kind, before, after):
    from hvci.binary.objects.relocate import apply

    held = bytearray(before)
    is_pointer = apply(machine, kind, held, 0, 0x1000, 0x2000, 0x1_8000_0000)
    assert bytes(held) == after
    assert is_pointer is (kind == 1)


def test_long_names_of_members():
    names = b"folder\\engine.obj\0"
    head = b"//".ljust(48) + str(len(names)).encode().ljust(10) + b"`\n"
    body = b"/0".ljust(48) + b"4".ljust(10) + b"`\n" + b"\0\0\0\0"
    assert list(members(b"!<arch>\n" + head + names + body)) == [("engine.obj", bytes(4))]


def test_sections_that_end_early_may_hold_code():
    assert has_code(x64(0)[:30])
    assert has_code(b"short")
    assert not has_code(b"")
    assert not has_code(obj("x64", [section(".data", b"1234", DATA)], []))


@pytest.mark.parametrize("value", [9, 0xFFFF_FFFF])
def test_a_function_behind_its_section_is_what_is_not_examined(value):
    part = section(".text", b"\x31\xc0\xc3")
    found = read(obj("x64", [part], [symbol("Far", 1, value)]))
    assert "lies behind the end of its section" in found.lost[0]


def test_more_functions_than_a_table_can_number_are_not_examined(monkeypatch):
    monkeypatch.setattr(linked, "MAX_EXPORTS", 0)
    assert read(x64(0)).lost == ["more code than is examined"]

"""Routines that go from one variable to another before they are called."""

import pytest

from sources import bad, one_file

POOL = "execute-pool-type"
TYPES = """#include <ntddk.h>
typedef PVOID (NTAPI *ALLOC)(POOL_TYPE, SIZE_T, ULONG);
struct T { ALLOC a; }; struct R { ALLOC b; };
typedef union { PVOID p; ALLOC routine; } U;
ALLOC Global; struct T First; struct R Second; PVOID Raw;
"""
GETS = {
    "named": "Raw = (PVOID)ExAllocatePoolWithTag;",
    "looked up": (
        'UNICODE_STRING n; RtlInitUnicodeString(&n, L"ExAllocatePoolWithTag");'
        " Raw = MmGetSystemRoutineAddress(&n); if (Raw == NULL) return;"
    ),
}
WAYS = {
    "local": "ALLOC f = (ALLOC)Raw; f({0}, 8, 'aaaa');",
    "two locals": "PVOID p = Raw; ALLOC f = (ALLOC)p; f({0}, 8, 'aaaa');",
    "global": "Global = (ALLOC)Raw; Global({0}, 8, 'aaaa');",
    "field to field": "First.a = (ALLOC)Raw; Second.b = First.a; Second.b({0}, 8, 'aaaa');",
    "union": "U u; u.p = Raw; u.routine({0}, 8, 'aaaa');",
}
LOST = {
    "copy": "ALLOC f; memcpy(&f, &Raw, sizeof f); f({0}, 8, 'aaaa');",
    "list": "struct T t = {{ (ALLOC)Raw }}; t.a({0}, 8, 'aaaa');",
    "another's function": "Elsewhere((ALLOC)Raw, {0});",
}


@pytest.mark.parametrize("got", GETS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "expected"), [("NonPagedPool", {POOL}), ("PagedPool", set())])
def test_calls_by_the_last_name(tmp_path, got, way, kind, expected):
    text = f"{TYPES}void Test(void) {{ {GETS[got]} {WAYS[way].format(kind)} }}\n"
    evidence = one_file(tmp_path, text)
    assert bad(evidence) == expected
    assert not any("handed on" in one.reason for one in evidence.limits)


@pytest.mark.parametrize("got", GETS)
@pytest.mark.parametrize("way", LOST)
def test_what_is_not_followed_is_said(tmp_path, got, way):
    text = f"{TYPES}void Test(void) {{ {GETS[got]} {LOST[way].format('NonPagedPool')} }}\n"
    assert any("handed on" in one.reason for one in one_file(tmp_path, text).limits)


def test_one_of_two_that_is_called_at_once(tmp_path):
    for chosen in (
        "(n ? ExAllocatePoolWithTag : Other)",
        "_Generic(n, int: ExAllocatePoolWithTag, default: Other)",
    ):
        text = (
            f"#include <ntddk.h>\nvoid Test(int n) {{ PVOID p = {chosen}(NonPagedPool, 8, 'a'); }}"
        )
        assert any("handed on" in one.reason for one in one_file(tmp_path, text).limits)


def test_other_variables_of_the_name(tmp_path):
    text = TYPES + "void f(void) { ALLOC p = ExAllocatePoolWithTag; p(PagedPool, 8, 'aaaa'); }\n"
    text += "PVOID g(PVOID q) { PVOID p = q; Other(p); return p; }\n"
    assert one_file(tmp_path, text).limits == one_file(tmp_path, TYPES).limits


def test_looking_at_a_routine_is_not_handing_it_on(tmp_path):
    text = TYPES + "void f(void) { ALLOC p = ExAllocatePoolWithTag; if (p) p(PagedPool, 8, 'a');"
    text += ' ASSERT(p != NULL); DbgPrint("%p", p); UNREFERENCED_PARAMETER(p); sizeof(p); }\n'
    assert one_file(tmp_path, text).limits == one_file(tmp_path, TYPES).limits

"""Functions that choose by a constant argument: only what this call chooses is its value."""

import pytest

from sources import entry, one_file, value_of

NX, EXECUTABLE, PAGED = 0x200, 0, 1
HELPERS = """
#include <ntddk.h>
typedef enum _KIND { KindPlain, /* data */ KindPaged, KindCode = 5, KindLast } KIND;
static POOL_TYPE Assigned(KIND k) {
    POOL_TYPE t;
    switch (k) {
    case KindCode: t = NonPagedPool; break;
    case KindPaged: t = PagedPool; break;
    default: t = NonPagedPoolNx; break;
    }
    return t;
}
static POOL_TYPE NoDefault(int k) {
    POOL_TYPE t = NonPagedPoolNx;
    switch ((int)k) { case 1: { t = NonPagedPool; break; } case 2: return PagedPool; }
    return t;
}
static POOL_TYPE Through(int k) {
    switch (k) { case 1: case 2: return NonPagedPool; default: return NonPagedPoolNx; }
}
static POOL_TYPE Behind(int k) { if (k == KindCode) return NonPagedPool; return NonPagedPoolNx; }
static POOL_TYPE Chosen(BOOLEAN code) { return code ? NonPagedPool : NonPagedPoolNx; }
static POOL_TYPE Either(BOOLEAN a) {
    if (!a) { return NonPagedPoolNx; } else { return NonPagedPool; }
    return PagedPool;
}
static POOL_TYPE Set(int n) { POOL_TYPE t = NonPagedPoolNx; if (n) t = NonPagedPool; return t; }
static POOL_TYPE Both(int a, int b) { if (a && b > 2) return NonPagedPool; return NonPagedPoolNx; }
static POOL_TYPE Flags(ULONG f) { if (f & 2) return NonPagedPool; return NonPagedPoolNx; }
static POOL_TYPE One(int a) { if (a < 3 || a >= 9) return NonPagedPool; return NonPagedPoolNx; }
static POOL_TYPE Loop(int a) { POOL_TYPE t = NonPagedPoolNx; while (a) t = NonPagedPool; return t; }
static POOL_TYPE Own(POOL_TYPE t) { return t; }
static POOL_TYPE Changed(int k) { k = 5; if (k == 5) return NonPagedPool; return NonPagedPoolNx; }
static POOL_TYPE Odd(int k) { if (-k) return NonPagedPool; return NonPagedPoolNx; }
static POOL_TYPE Steps(int k) { if (k >> 1) return NonPagedPool; return NonPagedPoolNx; }
static POOL_TYPE Label(int k) { switch (k) { case LIMIT: return NonPagedPool; } return PagedPool; }
static const POOL_TYPE Table[] = { NonPagedPoolNx, PagedPool, /* old */ NonPagedPool };
static const POOL_TYPE Named[] = { [1] = NonPagedPool, [0] = NonPagedPoolNx };
"""
VALUES = {
    "Assigned(KindPlain)": {NX},
    "Assigned(KindPaged)": {PAGED},
    "Assigned(KindCode)": {EXECUTABLE},
    "Assigned((KIND)5)": {EXECUTABLE},
    "Assigned(KindLast)": {NX},
    "Assigned(DriverObject->Flags)": {NX, PAGED, EXECUTABLE},
    "NoDefault(1)": {EXECUTABLE},
    "NoDefault(2)": {PAGED},
    "NoDefault(3)": {NX},
    "Through(1)": {EXECUTABLE},
    "Through(0)": {NX},
    "Behind(KindPlain)": {NX},
    "Behind(KindCode)": {EXECUTABLE},
    "Chosen(FALSE)": {NX},
    "Chosen(TRUE)": {EXECUTABLE},
    "Either(false)": {NX},
    "Either(true)": {EXECUTABLE},
    "Set(0)": {NX},
    "Set(1)": {EXECUTABLE},
    "Both(1, 3)": {EXECUTABLE},
    "Both(0, 3)": {NX},
    "Both(1, 2)": {NX},
    "Both(1, DriverObject->Size)": {NX, EXECUTABLE},
    "Flags(3)": {EXECUTABLE},
    "Flags(4)": {NX},
    "One(2)": {EXECUTABLE},
    "One(9)": {EXECUTABLE},
    "One(8)": {NX},
    "Loop(0)": {NX, EXECUTABLE},
    "Own(NonPagedPoolNx)": {NX},
    "Own(PagedPool)": {PAGED},
    "Changed(1)": {EXECUTABLE},
    "Odd(1)": {NX, EXECUTABLE},
    "Steps(1)": {NX, EXECUTABLE},
    "Label(1)": {PAGED, EXECUTABLE},
    "Table[0]": {NX},
    "Table[2]": {EXECUTABLE},
    "Table[KindPaged]": {PAGED},
    "Table[7]": {NX, PAGED, EXECUTABLE},
    "Table[DriverObject->Size]": {NX, PAGED, EXECUTABLE},
}


@pytest.mark.parametrize("value", VALUES)
def test_what_a_call_chooses(tmp_path, value):
    others = "Own(NonPagedPool); Own(PagedPool); Chosen(TRUE); Set(1); Assigned(KindCode);"
    call = f"{others} p = ExAllocatePoolWithTag({value}, 8, 'a');"
    evidence = one_file(tmp_path, HELPERS + entry(call))
    assert value_of(evidence, "ExAllocatePoolWithTag") == (VALUES[value], True)


def test_a_list_with_positions_is_not_counted(tmp_path):
    text = HELPERS + entry("p = ExAllocatePoolWithTag(Named[1], 8, 'a');")
    assert EXECUTABLE in value_of(one_file(tmp_path, text), "ExAllocatePoolWithTag")[0]


TEMPLATES = """
#include <ntddk.h>
enum class Mode : UCHAR { Data, Code };
struct Heap {
    template <Mode M> static POOL_TYPE Of() {
        if constexpr (M == Mode::Code) return NonPagedPoolExecute;
        else return NonPagedPoolNx;
    }
    static constexpr POOL_TYPE By(Mode m) {
        return m == Mode::Code ? NonPagedPoolExecute : NonPagedPoolNx;
    }
};
template <Mode M> PVOID Get(SIZE_T n) { return ExAllocatePoolWithTag(%s, n, 'a'); }
"""


@pytest.mark.parametrize("given", ["Heap::By(M)", "Heap::Of<M>()"])
@pytest.mark.parametrize(("mode", "value"), [("Data", {NX}), ("Code", {EXECUTABLE})])
def test_a_template_that_chooses(tmp_path, given, mode, value):
    text = TEMPLATES % given + entry(f"Get<Mode::{mode}>(8); Heap::By(Mode::Code);")
    evidence = one_file(tmp_path, text, "a.cpp")
    assert value_of(evidence, "ExAllocatePoolWithTag") == (value, True)


def test_uses_of_a_template_that_choose_differently(tmp_path):
    text = TEMPLATES % "Heap::By(M)" + entry("Get<Mode::Data>(8); Get<Mode::Code>(8);")
    evidence = one_file(tmp_path, text, "a.cpp")
    assert value_of(evidence, "ExAllocatePoolWithTag")[0] == {NX, EXECUTABLE}


@pytest.mark.parametrize(
    ("calls", "value"),
    [
        ("Get(8, FALSE); Get(16, FALSE);", {NX}),
        ("Get(8, TRUE);", {PAGED}),
        ("Get(8, FALSE); Get(16, TRUE);", {NX, PAGED}),
        ("Get(8, DriverObject->Flags);", {NX, PAGED}),
        ("BOOLEAN paged = FALSE; Get(8, paged);", {NX}),
    ],
)
def test_what_all_callers_choose(tmp_path, calls, value):
    text = """
PVOID Get(SIZE_T n, BOOLEAN paged) {
    POOL_TYPE pool = (paged ? PagedPool : NonPagedPoolNx);
    return ExAllocatePoolWithTag(pool, n, 'a');
}
"""
    evidence = one_file(tmp_path, text + entry(calls))
    assert value_of(evidence, "ExAllocatePoolWithTag") == (value, True)

"""What a local variable may be where it is used: ways through a function, loops, scopes."""

import pytest

from sources import entry, lay, one_file, read, value_of, values

NX, PLAIN, PAGED, CODE = 512, 0, 1, 0
BEFORE = """
#include <ntddk.h>
#define SET(x) x = NonPagedPool
#define SET_T do { t = NonPagedPool; } while (0)
#define EACH(n) for (; n--;)
static const POOL_TYPE Types[3] = { NonPagedPoolNx, PagedPool, NonPagedPool };
static void ByPointer(POOL_TYPE *t) { *t = NonPagedPool; }
static void Plainly(POOL_TYPE t) { t = NonPagedPool; }
"""
CALL = "p = ExAllocatePoolWithTag(t, 8, 'a');"
# body of a function with a parameter n: values of the pool type, and whether that is all
BODIES = {
    "both branches": ("T t = N; if (n) t = X; else t = P; CALL", {NX, PAGED}, True),
    "both blocks": ("T t = N; if (n) { t = X; } else { t = P; } CALL", {NX, PAGED}, True),
    "one branch": ("T t = N; if (n) { t = X; } CALL", {NX, PLAIN}, True),
    "a chain": (
        "T t = N; if (n == 1) t = X; else if (n == 2) t = P; else return; CALL",
        {NX, PAGED},
        True,
    ),
    "every label": (
        "T t = N; switch (n) { case 1: t = X; break; case 2: t = P; break; default: return; } CALL",
        {NX, PAGED},
        True,
    ),
    "a label that is missing": (
        "T t = N; switch (n) { case 1: t = X; break; case 2: t = P; } CALL",
        {NX, PAGED, PLAIN},
        True,
    ),
    "a label that goes on": (
        "T t = P; switch (n) { case 1: t = N; case 2: CALL break; default: t = X; }",
        {PLAIN, PAGED},
        True,
    ),
    "a way that leaves": ("T t = X; if (n == 3) { t = N; return; } CALL", {NX}, True),
    "a way that jumps over it": (
        "T t = X; if (n) { t = N; goto Exit; } CALL Exit: p = 0;",
        {NX},
        True,
    ),
    "a way that jumps to it": (
        "T t = X; if (n) { t = N; goto Do; } t = P; Do: CALL",
        {PAGED, PLAIN},
        True,
    ),
    "a jump back": ("T t = X; Again: CALL if (!p) { t = N; goto Again; }", {NX, PLAIN}, True),
    "a loop": ("T t = X; while (n--) { CALL t = N; }", {NX, PLAIN}, True),
    "a loop that is left": (
        "T t = X; for (;;) { if (n) { t = N; break; } t = P; } CALL",
        {PLAIN},
        True,
    ),
    "a loop that runs once at least": ("T t = N; do { t = X; } while (n--); CALL", {NX}, True),
    "a loop that goes on": (
        "T t = X; while (n--) { t = P; if (n) { t = N; continue; } t = P; } CALL",
        {NX, PAGED, PLAIN},
        True,
    ),
    "a handler": ("T t = N; __try { Probe(); t = X; } __except (1) { } CALL", {NX, PLAIN}, True),
    "behind both ways of a handler": (
        "T t = N; __try { t = P; } __except (1) { t = X; } CALL",
        {NX, PAGED},
        True,
    ),
    "leaving a block": (
        "T t = N; __try { if (n) __leave; t = X; } __finally { } CALL",
        {NX, PLAIN},
        True,
    ),
    "a handler of excpt.h": (
        "T t = N; try { Probe(); t = X; } except (1) { } CALL",
        {NX, PLAIN},
        True,
    ),
    "an operator that may not run": ("T t = N; n && (t = X); CALL", {NX, PLAIN}, True),
    "a macro that loops": ("T t = N; EACH(n) { t = X; } CALL", {NX, PLAIN}, True),
    "an inner variable": ("T t = N; { T t = X; Use(t); } CALL", {PLAIN}, True),
    "the inner variable": ("T t = N; if (n) { T t = X; CALL }", {NX}, True),
    "the variable of a loop": ("T t = X; for (T t = N; n--;) Use(t); CALL", {NX}, True),
    "a variable that lasts": ("static T t = X; CALL t = N;", {NX, PLAIN}, True),
    "set anew each time": ("static T t = N; t = X; CALL", {NX}, True),
    "an element in a loop": (
        "int i; T t; for (i = 0; i < 3; i++) { t = Types[i]; CALL }",
        {NX, PAGED, PLAIN},
        True,
    ),
    "an element of a counter": (
        "int i = 0; T t; while (i < 3) { t = Types[i]; CALL ++i; }",
        {NX, PAGED, PLAIN},
        True,
    ),
    "an element": ("int i = 1; T t = Types[i]; CALL", {PAGED}, True),
    "counting": ("T t = 0x1ff; t++; CALL", {NX}, True),
    "counting in a loop": ("T t = 0x1fe; while (n--) t++; CALL", {0x1FE}, False),
    "a macro that assigns": ("T t = X; if (n) SET(t); CALL", {NX}, False),
    "a macro that names it": ("T t = X; if (n) SET_T; CALL", {NX}, False),
    "its address": ("T t = X; ByPointer(&t); CALL", {NX}, False),
    "its address on another way": ("T t = X; if (n) { ByPointer(&t); return; } CALL", {NX}, True),
    "set behind its address": ("T t = N; ByPointer(&t); t = X; CALL", {NX}, True),
    "a copy": ("T t = X; Plainly(t); CALL", {NX}, True),
}


@pytest.mark.parametrize("kind", BODIES)
def test_ways_to_a_call(tmp_path, kind):
    body, possible, complete = BODIES[kind]
    for word, text in ("CALL", CALL), ("T ", "POOL_TYPE "), ("= X", "= NonPagedPoolNx"):
        body = body.replace(word, text)
    body = body.replace("= N;", "= NonPagedPool;").replace("= P;", "= PagedPool;")
    evidence = one_file(tmp_path, f"{BEFORE}void f(int n) {{ PVOID p; {body} }}")
    ((_, _, found, whole),) = values(evidence, "ExAllocatePoolWithTag")
    assert (found, whole) == (possible, complete)


@pytest.mark.parametrize(
    ("taken", "complete"), [("POOL_TYPE &t", False), ("const POOL_TYPE &t", True)]
)
def test_a_variable_that_is_given_by_reference(tmp_path, taken, complete):
    text = f"void Choose({taken});\nvoid Choose({taken}) {{ Look(t); }}\n"
    text += "void f() { POOL_TYPE t = NonPagedPoolNx; Choose(t); ExAllocatePool(t, 8); }"
    ((_, _, found, whole),) = values(one_file(tmp_path, text, "driver.cpp"))
    assert (found, whole) == ({NX}, complete)


ALLOCATE = """
#include <ntddk.h>
typedef enum { Plain, Code, Other } KIND;
static PVOID Allocate(KIND kind)
{
    POOL_TYPE t = NonPagedPoolNx;
    %s
    return ExAllocatePoolWithTag(t, 8, 'a');
}
PVOID One(void) { return Allocate(%s); }
"""


@pytest.mark.parametrize(
    "choice",
    [
        "if (kind == Code) t = NonPagedPool;",
        "switch (kind) { case Code: t = NonPagedPool; break; default: break; }",
        "switch (kind) { case Code: t = NonPagedPool; }",
        "if (kind != Plain && kind != Other) { t = NonPagedPool; }",
    ],
)
@pytest.mark.parametrize(("given", "value"), [("Plain", NX), ("Code", PLAIN)])
def test_what_all_callers_give_decides_the_way(tmp_path, choice, given, value):
    ((_, _, found, whole),) = values(one_file(tmp_path, ALLOCATE % (choice, given)))
    assert (found, whole) == ({value}, True)


def test_callers_that_give_different_constants(tmp_path):
    text = ALLOCATE % ("if (kind == Code) t = NonPagedPool;", "Plain")
    text += "PVOID Two(void) { return Allocate(Code); }"
    ((_, _, found, whole),) = values(one_file(tmp_path, text))
    assert (found, whole) == ({NX, PLAIN}, True)


def test_a_macro_that_chooses_by_its_argument(tmp_path):
    text = "#define POOL(c) ((c) ? NonPagedPoolExecute : NonPagedPoolNx)\n"
    text += "#define NEW(n, c) ExAllocatePoolWithTag(POOL(c), (n), 'a')\n"
    lay(tmp_path, a__c=text + "void f(void) { NEW(8, FALSE); }")
    ((_, _, found, whole),) = values(read(tmp_path))
    assert (found, whole) == ({NX}, True)
    lay(tmp_path, b__c=text + "void g(void) { NEW(8, FALSE); NEW(8, TRUE); }")
    assert {0, 512} in [found for _, _, found, _ in values(read(tmp_path / "b.c"))]


CHOOSES = "POOL_TYPE t = nx ? NonPagedPoolNx : NonPagedPool; ExAllocatePoolWithTag(t, 8, 'a');"
AS_SAID, BOTH = {0x200}, {0x200, 0}


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("BOOLEAN nx = TRUE;", AS_SAID),
        ("const int nx = 1;", AS_SAID),
        ("BOOLEAN nx = FALSE;", {0}),
        ("int nx; if (RegistryPath) nx = 1; else nx = 0;", BOTH),
        ("int nx = 1; Ask(&nx);", BOTH),
        ("int nx = 1; again: ; if (nx == 3) { nx = 0; goto again; }", BOTH),
        ("static int nx = 1; nx &= RegistryPath->Length;", BOTH),
        ("int nx = 1; nx--;", {0}),
    ],
)
def test_a_condition_that_is_a_local_variable(tmp_path, before, expected):
    evidence = one_file(tmp_path, entry(before + CHOOSES))
    assert value_of(evidence, "ExAllocatePoolWithTag")[0] == expected


LOOPS = [
    ("for (i = 0; i < 3; i++)", True),
    ("for (ULONG i = 0; i < 3; i++)", True),
    ("for (i = 3; i > 0; i--)", True),
    ("for (i = 1; i <= 1; i++)", True),
    ("for (i = 0; i != 2; i++)", True),
    ("for (i = 0; i < n; i++)", False),
    ("for (i = 3; i < 3; i++)", False),
    ("for (i = 0; j < 3; i++)", False),
    ("for (i = 0; i < 3 && n; i++)", False),
    ("for (; i < 3; i++)", False),
]


@pytest.mark.parametrize(("loop", "sure"), LOOPS)
def test_a_loop_that_surely_runs(tmp_path, loop, sure):
    body = f"POOL_TYPE t = NonPagedPool; {loop} {{ t = NonPagedPoolNx; }} "
    text = entry(body + "ExAllocatePoolWithTag(t, 8, 'x');")
    assert value_of(one_file(tmp_path, text), "ExAllocatePoolWithTag")[0] == (
        {0x200} if sure else {0, 0x200}
    )


def test_a_loop_that_surely_runs_may_be_left_first(tmp_path):
    body = "POOL_TYPE t = NonPagedPool; for (i = 0; i < 3; i++) { if (n) %s; t = NonPagedPoolNx; } "
    for leaves in ("break", "continue"):
        text = entry(body % leaves + "ExAllocatePoolWithTag(t, 8, 'x');")
        assert value_of(one_file(tmp_path, text), "ExAllocatePoolWithTag")[0] == {0, 0x200}

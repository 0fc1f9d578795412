"""Branches on a local variable that has one way to go, and those that only look so."""

import pytest

from sources import bad, entry, one_file

POOL = "execute-pool-type"
CALL = "ExAllocatePoolWithTag(NonPagedPool, 8, 'aaaa');"
NEVER = {
    "constant": "const int old = 0; if (old) CALL",
    "false": "BOOLEAN old = FALSE; if (old) { CALL }",
    "else": "BOOLEAN nx = TRUE; if (nx) { } else { CALL }",
    "one or two": "int k; if (n) k = 1; else k = 2; if (k) { } else CALL",
    "chosen": "int k = n ? 1 : 2; if (k == 3) CALL",
    "order": "int k = 1; if (n) k = 2; if (k > 2) CALL",
    "macro": "int k = OFF; if (k != OFF) CALL",
}
MAYBE = {
    "one of two": "int k = 1; if (n) k = 2; if (k == 2) CALL",
    "later in a loop": "int k = 1; while (n--) { if (!k) CALL k = 0; }",
    "static": "static int k = 1; if (!k) CALL k = 0;",
    "volatile": "volatile int k = 1; if (!k) CALL",
    "address": "int k = 1; Look(&k); if (!k) CALL",
    "jump back": "int k = 1; again: if (!k) CALL k = 0; if (n--) goto again;",
    "jump into": "int k = 0; if (n) goto in; if (k) { in: CALL }",
    "assembly": "int k = 0; __asm { mov k, 1 } if (k) CALL",
    "counted": "int k = 0; do { if (k) CALL } while (!k++);",
    "counted in a loop": "int k = 0; for (int i = 0; i < n; i++) k++; if (k > 1) CALL",
    "macro of a missing header": "int k = 0; READ_FLAG(k); if (k) CALL",
    "computed": "UCHAR k = 255; k = k + 1; if (k) { } else CALL",
    "cut to its type": "UCHAR k = 256; if (k) { } else CALL",
    "shifted": "UCHAR k = 1 << 8; if (k) { } else CALL",
    "negative": "int k = -1; if (k < 0) CALL",
    "structure": "struct S s = {0}; Fill(&s); if (s.k) CALL",
    "array": "int k[2] = {0}; Fill(k); if (k[1]) CALL",
}


def text_of(body):
    return entry(f"int n = Count(); {body.replace('CALL', CALL)}").replace(
        "NTSTATUS", "#define OFF 3\nNTSTATUS", 1
    )


@pytest.mark.parametrize("shape", NEVER)
def test_a_branch_that_is_never_taken(tmp_path, shape):
    evidence = one_file(tmp_path, text_of(NEVER[shape]))
    assert bad(evidence) == set()
    assert [bool(call.dead) for call in evidence.calls] == [True]


@pytest.mark.parametrize("shape", MAYBE)
def test_a_branch_that_may_be_taken(tmp_path, shape):
    assert bad(one_file(tmp_path, text_of(MAYBE[shape]))) == {POOL}


@pytest.mark.parametrize(("old", "expected"), [("0", set()), ("Count()", {POOL})])
def test_what_a_caller_in_such_a_branch_gives(tmp_path, old, expected):
    text = (
        "#include <ntddk.h>\nPVOID My(POOL_TYPE k) { return ExAllocatePoolWithTag(k, 8, 'a'); }\n"
    )
    text += f"void f(void) {{ int old = {old}; My(PagedPool); if (old) My(NonPagedPool); }}\n"
    assert bad(one_file(tmp_path, text)) == expected


@pytest.mark.parametrize("loop", ["while (!k++)", "while (-k--)", "while (~k++)"])
def test_counting_behind_a_sign_counts(tmp_path, loop):
    body = (
        f"int k = 0; do {{ ExAllocatePoolWithTag(k ? NonPagedPool : PagedPool, 8, 'a'); }} {loop};"
    )
    assert POOL in bad(one_file(tmp_path, entry(body)))

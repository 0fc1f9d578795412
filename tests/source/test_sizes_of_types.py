"""Branches on the size of a type: a compiler decides them, for each machine on its own."""

import pytest

from sources import bad, entry, lay, read, vcxproj

BAD = "ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"
NEVER_ON_X64 = [
    f"if (sizeof(void *) == 4) {BAD}",
    f"if (sizeof(PVOID) < 8) {{ {BAD} }}",
    f"if (4 == sizeof(char const *)) {BAD}",
    f"if (sizeof(ULONG_PTR) == sizeof(ULONG)) {BAD}",
    f"if (!IS_64) {BAD}",
    f"if (BITS == 32) {BAD}",
    "ExAllocatePoolWithTag(sizeof(SIZE_T) == 4 ? NonPagedPool : NonPagedPoolNx, 8, 'a');",
    f"if (sizeof(unsigned long) == 8) {BAD}",
]
MACROS = "#define IS_64 (sizeof(void *) == 8)\n#ifdef _WIN64\n#define BITS 64\n#else\n"
MACROS += "#define BITS 32\n#endif\n"


def driver(tmp_path, body, platforms):
    lay(tmp_path, driver__c=MACROS + entry(body))
    lay(tmp_path, driver__vcxproj=vcxproj("driver.c", platforms=platforms))
    return read(tmp_path)


@pytest.mark.parametrize("body", NEVER_ON_X64)
def test_a_branch_for_other_pointers_is_not_compiled(tmp_path, body):
    assert "execute-pool-type" not in bad(driver(tmp_path, body, ("x64", "ARM64")))


@pytest.mark.parametrize("body", [one for one in NEVER_ON_X64 if "long" not in one])
@pytest.mark.parametrize("platforms", [("Win32",), ("x64", "Win32")])
def test_it_counts_where_pointers_are_so_small(tmp_path, body, platforms):
    assert "execute-pool-type" in bad(driver(tmp_path, body, platforms))


@pytest.mark.parametrize(
    "condition", ["sizeof(PVOID) == 8", "sizeof(struct own) == 4", "sizeof x == 4", "IS_64"]
)
def test_what_may_hold_counts(tmp_path, condition):
    body = f"int x; if ({condition}) {BAD}"
    assert "execute-pool-type" in bad(driver(tmp_path, body, ("x64",)))


def test_without_a_build_no_size_of_pointers_is_known(tmp_path):
    lay(tmp_path, driver__c=entry(NEVER_ON_X64[0]))
    assert "execute-pool-type" in bad(read(tmp_path))

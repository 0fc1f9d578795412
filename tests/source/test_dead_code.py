"""What no way leads to and what no image holds is listed and fails nothing."""

import pytest

from sources import bad, entry, lay, one_file, read, vcxproj

POOL = {"execute-pool-type"}
CALL = "ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"
DEAD = {
    "0": f"if (0) {{ {CALL} }}",
    "FALSE": f"if (FALSE) {CALL}",
    "a macro": f"if (NEVER) {CALL}",
    "not 1": f"if (!1) {CALL}",
    "compared": f"if (1 == 2) {CALL}",
    "the other branch": f"if (1) ; else {CALL}",
    "a loop": f"while (0) {CALL}",
    "and": f"x = 0 && {CALL}",
    "or": f"x = 1 || {CALL}",
    "a choice": f"x = 1 ? y : {CALL}",
    "behind a return": f"return 0; {CALL}",
    "behind a goto": f"goto out; {CALL} out: ;",
    "behind a break": f"while (x) {{ break; {CALL} }}",
}
ALIVE = {
    "1": f"if (1) {CALL}",
    "else": f"if (0) ; else {CALL}",
    "a variable": f"if (x) {CALL}",
    "a name of nobody": f"if (SOMETIMES) {CALL}",
    "a label inside": f"if (0) {{ again: {CALL} }} goto again;",
    "a case inside": f"switch (x) {{ if (0) {{ case 1: {CALL} }} }}",
    "a label behind a return": f"if (x) goto in; return 0; in: {CALL}",
    "a case behind a break": f"switch (x) {{ case 1: break; case 2: {CALL} }}",
    "once": f"do {{ {CALL} }} while (0);",
    "the condition itself": f"if ({CALL[:-1]} && 0) ;",
    "and 1": f"x = 1 && {CALL}",
}


@pytest.mark.parametrize("body", DEAD.values(), ids=DEAD.keys())
def test_what_no_way_leads_to(tmp_path, body):
    evidence = one_file(tmp_path, "#define NEVER 0\n" + entry(body))
    assert bad(evidence) == set()
    assert ["no way leads here" in call.dead for call in evidence.calls] == [True]


@pytest.mark.parametrize("body", ALIVE.values(), ids=ALIVE.keys())
def test_what_some_way_leads_to(tmp_path, body):
    assert bad(one_file(tmp_path, entry(body))) == POOL


F = f"static void f(void) {{ {CALL} }}\n"
UNUSED = {
    "nobody": F,
    "a declaration": "static void f(void);\n" + F,
    "a pragma": "static void f(void);\n#pragma alloc_text(PAGE, f)\n" + F,
    "itself": F.replace("}", "f(); }"),
    "another that is unused": F + "static void g(void) { f(); }\n",
    "an inline function": F.replace("static", "FORCEINLINE"),
    "what is not compiled": F + "#if 0\nvoid g(void) { f(); }\n#endif\n",
}
USED = {
    "a call": F + "void g(void) { f(); }\n",
    "an address": F + "void (*p)(void) = f;\n",
    "a table": F + "void (*t[])(void) = { f };\n",
    "a macro": F + "#define GO f()\n",
    "a pasted name": F.replace("f(", "do_f(") + "#define GO(x) do_##x()\nvoid g(void) { GO(f); }\n",
    "assembly": F + 'void g(void) { __asm__("call f"); }\n',
    "an export": F.replace("static", "__declspec(dllexport) inline"),
    "no static": F.replace("static ", ""),
    "a macro that renames it": "#define f DriverUnload\n" + F,
    "another that is used": F + "static void g(void) { f(); }\nvoid h(void) { g(); }\n",
}


@pytest.mark.parametrize("text", UNUSED.values(), ids=UNUSED.keys())
def test_a_function_that_nothing_uses(tmp_path, text):
    evidence = one_file(tmp_path, text + entry(""))
    assert bad(evidence) == set()
    assert ["nothing in the sources uses f" in call.dead for call in evidence.calls] == [True]


@pytest.mark.parametrize("text", USED.values(), ids=USED.keys())
def test_a_function_that_something_uses(tmp_path, text):
    assert bad(one_file(tmp_path, text + entry(""))) == POOL


def test_a_part_of_a_driver(tmp_path):
    assert bad(one_file(tmp_path, F + "void g(void) {}\n")) == POOL


def test_a_function_of_a_header(tmp_path):
    lay(tmp_path, a__vcxproj=vcxproj("a.c"), a__h=F, a__c='#include "a.h"\n' + entry(""))
    assert bad(read(tmp_path)) == set()
    lay(tmp_path, a__c='#include "a.h"\n' + entry("f();"))
    assert bad(read(tmp_path)) == POOL
    (tmp_path / "alone").mkdir()
    assert bad(one_file(tmp_path / "alone", F, "a.h")) == POOL


def test_what_dead_code_gives_to_a_function(tmp_path):
    get = "void *Get(POOL_TYPE k) { return ExAllocatePoolWithTag(k, 8, 'a'); }\n"
    dead = "static void g(void) { Get(NonPagedPool); }\n"
    assert bad(one_file(tmp_path, get + dead + entry("Get(PagedPool);"))) == set()
    body = "Get(PagedPool); if (0) Get(NonPagedPool);"
    assert bad(one_file(tmp_path, get + entry(body))) == set()
    assert bad(one_file(tmp_path, get + dead + entry("Get(PagedPool); g();"))) == POOL

"""What asks for memory before the driver opts in, or sets its own variable, gets what was there."""

import pytest

from sources import bad, entry, one_file

OPT_IN = "#define POOL_NX_OPTIN 1\n"
NOW = "ExInitializeDriverRuntime(DrvRtPoolNxOptIn);"
CALL = "ExAllocatePoolWithTag({}, 8, 't')"
PLAIN = CALL.format("NonPagedPool")
USES = [
    ("", f"p = {PLAIN};"),
    ("VOID *f(VOID) { return " + PLAIN + "; }\n", "p = f();"),
    ("#define GET() " + PLAIN + "\n", "p = GET();"),
    ("#define GET " + PLAIN + "\n", "p = GET;"),
    ("#define SET p = " + PLAIN + "\n", "SET;"),
    ("#define GET(n) " + PLAIN + "\n#define OTHER(n) GET(n)\n", "p = OTHER(3);"),
    ("#define GET(n) " + PLAIN + "\nVOID *f(VOID) { return GET(3); }\n", "p = f();"),
    ("VOID *f(VOID) { return " + PLAIN + "; }\n#define LOG f(\n", "p = LOG);"),
    ("VOID f(VOID) { p = " + PLAIN + "; }\n#define LOG() do { f(); } while (0)\n", "LOG();"),
]


@pytest.mark.parametrize(("before", "use"), USES)
def test_before_and_behind_the_opt_in(tmp_path, before, use):
    found = bad(one_file(tmp_path, OPT_IN + before + entry(use + NOW)))
    assert found == {"execute-pool-type"}
    assert not bad(one_file(tmp_path, OPT_IN + before + entry(NOW + use)))


@pytest.mark.parametrize(("before", "use"), USES)
def test_before_and_behind_what_sets_a_variable(tmp_path, before, use):
    before = "POOL_TYPE kind = NonPagedPool;\n" + before.replace("NonPagedPool", "kind")
    use, now = use.replace("NonPagedPool", "kind"), "kind = NonPagedPoolNx;"
    assert bad(one_file(tmp_path, before + entry(use + now))) == {"execute-pool-type"}
    assert not bad(one_file(tmp_path, before + entry(now + use)))


def test_a_macro_that_is_named_in_both_places(tmp_path):
    before = OPT_IN + "#define GET() " + PLAIN + "\n"
    assert bad(one_file(tmp_path, before + entry("p = GET();" + NOW + "q = GET();")))
    text = before + entry(NOW + "f();") + "VOID f(VOID) { q = GET(); }\n"
    assert not bad(one_file(tmp_path, text))

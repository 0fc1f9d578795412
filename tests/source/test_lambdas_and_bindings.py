"""Lambdas, loops over ranges, bindings, and operators new whose choice of pool has a default."""

import pytest

from sources import bad, entry, one_file

POOL = "ExAllocatePoolWithTag(t, 8, 'a');"
NX = "POOL_TYPE t = NonPagedPoolNx;"
BODIES = {
    "an argument": f"auto a = [](POOL_TYPE t) {{ {POOL} }}; a(@);",
    "a name of outside": f"{NX} auto a = [](POOL_TYPE t) {{ {POOL} }}; a(@);",
    "a default": f"auto a = [](int n, POOL_TYPE t = @) {{ {POOL} }}; a(8);",
    "at once": f"[](POOL_TYPE t) {{ {POOL} }}(@);",
    "never set": "POOL_TYPE t = @; auto a = [&] { t = NonPagedPoolNx; }; " + POOL,
    "set by a lambda": f"{NX} auto a = [&] {{ t = @; }}; a(); {POOL}",
    "set later": f"{NX} auto a = [&t] {{ {POOL} }}; t = @; a();",
    "set later for all": f"{NX} auto a = [&] {{ {POOL} }}; t = @; a();",
    "kept": f"POOL_TYPE t = @; auto a = [t] {{ {POOL} }}; t = NonPagedPoolNx; a();",
    "its own": f"POOL_TYPE t = NonPagedPool; auto a = [] {{ POOL_TYPE t = @; {POOL} }}; a(); U(t);",
    "kept under a name": f"{NX} auto a = [t = @] {{ {POOL} }}; a();",
    "a range": f"{NX} for (POOL_TYPE t : {{ PagedPool, @ }}) {POOL}",
    "a range of references": f"{NX} for (auto &t : {{ PagedPool, @ }}) {{ {POOL} }}",
}


@pytest.mark.parametrize("kind", [*BODIES])
@pytest.mark.parametrize("pool", ["NonPagedPool", "NonPagedPoolNx"])
def test_what_a_name_is_in_a_lambda_or_a_loop(tmp_path, kind, pool):
    evidence = one_file(tmp_path, entry(BODIES[kind].replace("@", pool)), "driver.cpp")
    assert ("execute-pool-type" in bad(evidence)) is (pool == "NonPagedPool")


@pytest.mark.parametrize(
    "body",
    [
        f"{NX} {{ auto [t, b] = Pair(); {POOL} }}",
        f"{NX} Run([](POOL_TYPE t) {{ {POOL} }});",
    ],
)
def test_what_is_not_followed_is_undecided(tmp_path, body):
    assert "execute-pool-type" in bad(one_file(tmp_path, entry(body), "driver.cpp"))


OPERATOR = "void *operator new(size_t n, {}) {{ return ExAllocatePoolWithTag({}, n, 'a'); }}\n"
DEFAULTS = [
    OPERATOR.format("POOL_TYPE t = @", "t"),
    "void *operator new(size_t n, POOL_TYPE t = @);\n" + OPERATOR.format("POOL_TYPE t", "t"),
    "enum class K { P = @ };\n" + OPERATOR.format("K k = K::P", "(POOL_TYPE)k"),
    OPERATOR.format("POOL_TYPE t = @, ULONG tag = 1", "t"),
]


@pytest.mark.parametrize("text", DEFAULTS)
@pytest.mark.parametrize("pool", ["NonPagedPool", "NonPagedPoolNx"])
def test_a_new_that_gives_nothing_takes_the_default(tmp_path, text, pool):
    text = "#include <ntddk.h>\n" + text.replace("@", pool) + entry("auto p = new int;")
    evidence = one_file(tmp_path, text, "driver.cpp")
    assert ("execute-pool-type" in bad(evidence)) is (pool == "NonPagedPool")


def test_an_operator_with_a_default_that_no_new_uses(tmp_path):
    text = DEFAULTS[0].replace("@", "NonPagedPool") + entry("auto p = 1;")
    evidence = one_file(tmp_path, text, "driver.cpp")
    assert "execute-pool-type" not in bad(evidence)


def test_arguments_that_a_template_hands_on_are_undecided(tmp_path):
    text = "template <class T, class... A> T *Make(A &&...a) { return new (a...) T; }\n"
    text += OPERATOR.format("POOL_TYPE t", "t") + entry("Make<int>(NonPagedPool);")
    assert "execute-pool-type" in bad(one_file(tmp_path, text, "driver.cpp"))

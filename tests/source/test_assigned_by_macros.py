"""What macros and files in the middle of a function do, which no statement of the text shows."""

from types import SimpleNamespace

import pytest

from hvci.source.pointers.macro_stores import fields, puts
from sources import bad, entry, lay, one_file, read, vcxproj

NX, PLAIN = "NonPagedPoolNx", "NonPagedPool"
POOL = {"execute-pool-type"}
USE = " ExAllocatePoolWithTag(%s, 8, 'x');"
KIND = "static POOL_TYPE g = NonPagedPoolNx;\n"
RECORD = "typedef struct { POOL_TYPE t; } R; static R r = {NonPagedPoolNx};\n"
ARRAY = "static POOL_TYPE t[2] = {NonPagedPoolNx, NonPagedPoolNx};\n"
STORED = [
    (KIND + "#define SET(k) g = (k)\n", "SET(@);" + USE % "g"),
    (KIND + "#define SET(v, k) do { (v) = (k); } while (0)\n", "SET(g, @);" + USE % "g"),
    (KIND + "#define SET g = @\n", "SET;" + USE % "g"),
    (RECORD + "#define SET(c, k) (c)->t = (k)\n", "SET(&r, @);" + USE % "r.t"),
    (RECORD + "#define SET(c, f, k) (c).f = (k)\n", "SET(r, t, @);" + USE % "r.t"),
    (ARRAY + "#define SET(i, k) t[i] = (k)\n", "SET(0, @);" + USE % "t[0]"),
    ("#define SET(c, k) (c)->t = (k)\n" + RECORD, "R x = {0}; SET(&x, @);" + USE % "x.t"),
]


@pytest.mark.parametrize(("outside", "body"), STORED)
def test_a_macro_stores(tmp_path, outside, body):
    texts = [(outside + entry(body)).replace("@", value) for value in (PLAIN, NX)]
    assert bad(one_file(tmp_path, texts[0])) == POOL
    assert bad(one_file(tmp_path, texts[1])) == set()


OTHERS = [
    (KIND + "#define SET(v, k) (v) = (k)\n", "ULONG h; SET(h, 0);" + USE % "g"),
    (KIND + "#define SET(k) g = (k)\n", "{ POOL_TYPE g; SET(0); }" + USE % "g"),
    (KIND + "#define SET(k) g = (k)\n", USE % "g"),
    (KIND + "#define SAME(k) (g == (k))\n", "if (SAME(0)) f();" + USE % "g"),
    (KIND + "#define SET(v, k) *(v) = (k)\n", "SET(h, g);" + USE % "g"),
]


@pytest.mark.parametrize(("outside", "body"), OTHERS)
def test_a_macro_stores_elsewhere(tmp_path, outside, body):
    assert bad(one_file(tmp_path, outside + entry(body))) == set()


def test_a_macro_changes_what_is_there(tmp_path):
    text = KIND + "#define DROP(v, k) (v) &= ~(k)\n" + entry("DROP(g, 0x200);" + USE % "g")
    assert bad(one_file(tmp_path, text)) == POOL


def test_macros_that_store_very_often_are_a_limit(tmp_path):
    text = (
        KIND + "#define SET(v, k) (v) = (k)\n" + entry("SET(g, NonPagedPoolNx);" * 201 + USE % "g")
    )
    reasons = [one.reason for one in one_file(tmp_path, text).limits]
    assert any("macros may assign g in more than 200 places" in one for one in reasons)


RETURNED = [
    "#define OR(k) return (k)\nPOOL_TYPE k(int i) { if (i) OR(@); return NonPagedPoolNx; }\n",
    "#define INNER(k) return k;\n#define OR(k) INNER(k)\n"
    "POOL_TYPE k(int i) { if (i) { OR(@) } return NonPagedPoolNx; }\n",
    "#define LIST X(1, @) X(2, NonPagedPoolNx)\n#define X(n, t) case n: return t;\n"
    "POOL_TYPE k(int i) { switch (i) { LIST } return NonPagedPoolNx; }\n#undef X\n",
]


@pytest.mark.parametrize("outside", RETURNED)
def test_a_macro_returns(tmp_path, outside):
    assert bad(one_file(tmp_path, outside.replace("@", PLAIN) + entry(USE % "k(1)"))) == POOL
    text = (
        "#define CHECK(c) if (!(c)) f()\nPOOL_TYPE k(int i) { CHECK(i); return NonPagedPoolNx; }\n"
    )
    assert bad(one_file(tmp_path, text + entry(USE % "k(1)"))) == set()


def included(folder, outside, body, inner):
    """The rules that a driver does not satisfy that includes a file in a function."""
    project = vcxproj("driver.c")
    text = outside + entry(body)
    return bad(read(lay(folder, driver__c=text, part__inc=inner, driver__vcxproj=project)))


def test_a_file_in_a_function_assigns(tmp_path):
    body = 'POOL_TYPE k = NonPagedPoolNx;\n#include "part.inc"\n' + USE % "k"
    assert included(tmp_path / "a", "", body, "k = NonPagedPool;\n") == POOL
    assert included(tmp_path / "b", "", body, "f(k);\n") == set()


def test_a_file_in_a_function_returns(tmp_path):
    outside = 'POOL_TYPE k(int i) {\n#include "part.inc"\nreturn NonPagedPoolNx; }\n'
    assert included(tmp_path / "a", outside, USE % "k(1)", "if (i) return NonPagedPool;\n") == POOL
    assert included(tmp_path / "b", outside, USE % "k(1)", "if (i) f();\n") == set()
    outside = outside.replace("part.inc", "gone.inc")
    assert included(tmp_path / "c", outside, USE % "k(1)", "") == set()


def test_a_definition_that_comes_back(tmp_path):
    text = (
        '#define KIND %s\n#pragma push_macro("KIND")\n#undef KIND\n#define KIND NonPagedPoolNx\n'
        '#pragma pop_macro("KIND")\n' + entry(USE % "KIND")
    )
    assert bad(one_file(tmp_path, text % PLAIN)) == POOL
    assert bad(one_file(tmp_path, text % NX)) == set()


def test_a_macro_that_is_the_name_of_an_own_function(tmp_path):
    own = "PVOID My(POOL_TYPE t, SIZE_T n, ULONG g) { return ExAllocatePool%s; }\n"
    name = "#define ExAllocatePoolWithTag My\n"
    call = entry(USE % PLAIN)
    assert bad(one_file(tmp_path, own % "2(POOL_FLAG_NON_PAGED, n, g)" + name + call)) == set()
    assert bad(one_file(tmp_path, own % "Zero(t, n, g)" + name + call)) == POOL


def test_a_macro_takes_the_address_of_a_variable(tmp_path):
    outside = "#define ADDRESS(x) (&(x))\n#define BOTH(x) ((x) && f())\n"
    body = "POOL_TYPE k = NonPagedPoolNx; %s" + USE % "k"
    assert bad(one_file(tmp_path, outside + entry(body % "set(ADDRESS(k));"))) == POOL
    assert bad(one_file(tmp_path, outside + entry(body % "if (BOTH(k)) f();"))) == set()


def test_what_has_no_name_is_asked_for_as_any_field():
    program = SimpleNamespace(stored={}, paths=())
    assert puts(program, b"") == ()
    assert fields(program) == frozenset()

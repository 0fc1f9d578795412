"""Objects that choose a pool and are made without a declaration of their own: all that they get."""

import pytest

from sources import bad, entry, one_file

POOL = {"execute-pool-type"}
PLAIN = "struct P { POOL_TYPE k; SIZE_T n; };\n"
MADE = "struct P { POOL_TYPE k; P(POOL_TYPE a) : k(a) {} };\n"
GET = "void *Get(P p) { return ExAllocatePoolWithTag(p.k, 8, 'a'); }\n"
OTHER = {PLAIN: "P x{PagedPool, 4}; Get(x); ", MADE: "P x(PagedPool); Get(x); "}
"""An innocent object, beside which the other must not be forgotten."""
LISTS = {PLAIN: "{%s, 8}", MADE: "{%s}"}
WAYS = {
    "argument": (GET, "Get(LIST);"),
    "argument by reference": (GET.replace("P p", "const P &p"), "Get(LIST);"),
    "argument of a method": ("struct M { " + GET + " };\n", "M m; m.Get(LIST);"),
    "argument of a lambda": (GET, "auto f = [](P p) { return Get(p); }; f(LIST);"),
    "argument of a constructor": (
        GET + "struct M { POOL_TYPE q; M(P p) : q(p.k) { ExAllocatePoolWithTag(q, 8, 'a'); } };\n",
        "M m(LIST);",
    ),
    "default": (GET.replace("P p", "P p = LIST"), "Get();"),
    "result": (GET + "P Make() { return LIST; }\n", "Get(Make());"),
    "assignment": (GET, "x = LIST; Get(x);"),
    "member that is assigned": (GET + "struct Q { P p; } q;\n", "q.p = LIST; Get(q.p);"),
    "member by default": (GET + "struct Q { P p = LIST; };\n", "Q q; Get(q.p);"),
    "member by a constructor": (GET + "struct Q { P p; Q() : pLIST {} };\n", "Q q; Get(q.p);"),
    "new": (GET, "P *p = new PLIST; Get(*p);"),
    "part of a list": (GET + "struct Q { int n; P p; };\n", "Q q = {1, LIST}; Get(q.p);"),
}


@pytest.mark.parametrize("kind", ["NonPagedPool", "NonPagedPoolNx"])
@pytest.mark.parametrize("declared", [PLAIN, MADE], ids=["plain", "with a constructor"])
@pytest.mark.parametrize(("before", "body"), WAYS.values(), ids=WAYS.keys())
def test_a_list_in_braces(tmp_path, declared, before, body, kind):
    given = LISTS[declared] % kind
    text = declared + before.replace("LIST", given)
    text += entry(OTHER[declared].replace("Get(x);", "") + body.replace("LIST", given))
    assert bad(one_file(tmp_path, text, "d.cpp")) == (POOL if kind == "NonPagedPool" else set())


@pytest.mark.parametrize("kind", ["NonPagedPool", "NonPagedPoolNx"])
@pytest.mark.parametrize(
    ("before", "body"),
    [
        ("", "Get({});"),
        ("", "POOL_TYPE k = {}; Get(k);"),
        ("P Make() {{ return {}; }}\n", "Get(Make());"),
        ("", "x = {}; Get(x);"),
    ],
)
def test_a_pool_that_becomes_an_object(tmp_path, before, body, kind):
    text = MADE + GET + before.format(kind) + entry(OTHER[MADE] + body.format(kind))
    assert bad(one_file(tmp_path, text, "d.cpp")) == (POOL if kind == "NonPagedPool" else set())


INNER = "typedef struct { POOL_TYPE k; SIZE_T n; } P;\ntypedef struct { int n; P p; } Q;\n"
READ = "void *Get(P p) { return ExAllocatePoolWithTag(p.k, 8, 'a'); }\n"
C_OTHER = "P x = {PagedPool, 4}; Get(x); "


@pytest.mark.parametrize("kind", ["NonPagedPool", "NonPagedPoolNx"])
@pytest.mark.parametrize(
    ("before", "body"),
    [
        ("", "Q q = {1, {KIND, 8}}; Get(q.p);"),
        ("", "Q q = {1, KIND, 8}; Get(q.p);"),
        ("", "Q q = {.p = {KIND, 8}}; Get(q.p);"),
        ("", "Q q = {.p.k = KIND}; Get(q.p);"),
        ("", "Q t[] = {{1, {PagedPool, 8}}, {2, {KIND, 8}}}; Get(t[1].p);"),
        ("static const Q q = {1, {KIND, 8}};\n", "const Q *z = &q; Get(z->p);"),
        ("typedef struct { Q q; } R;\n", "R r = {{1, {KIND, 8}}}; Get(r.q.p);"),
        ("typedef struct { P p[2]; } R;\n", "R r = {{{KIND, 8}, {KIND, 8}}}; Get(r.p[1]);"),
        (
            "struct S { struct T { int a; POOL_TYPE k; } p; };\n",
            "struct S s = {{1, KIND}}; ExAllocatePoolWithTag(s.p.k, 8, 'a');",
        ),
    ],
)
def test_a_structure_inside_another(tmp_path, before, body, kind):
    text = INNER + READ + before.replace("KIND", kind)
    text += entry(C_OTHER + body.replace("KIND", kind))
    assert bad(one_file(tmp_path, text, "d.c")) == (POOL if kind == "NonPagedPool" else set())


def test_structures_that_hold_each_other(tmp_path):
    text = "struct A { struct B *b; POOL_TYPE k; };\nstruct B { struct A a; };\n"
    text += "struct B q = { { 0, NonPagedPool } };\n"
    text += entry("ExAllocatePoolWithTag(q.a.k, 8, 'a');")
    assert bad(one_file(tmp_path, text, "d.c")) == POOL

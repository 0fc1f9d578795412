"""Operators new by the types of their arguments, and branches that no template compiles."""

import pytest

from sources import bad, entry, one_file, values

POOL = "ExAllocatePoolWithTag"
OPERATOR = "void *operator new(size_t n, {} t) {{ return " + POOL + "((POOL_TYPE)t, n, 'a'); }}\n"
CHOSEN = [
    ("POOL_TYPE", "POOL_TYPE k = NonPagedPool;", "k"),
    ("POOL_TYPE", "static const POOL_TYPE k = NonPagedPool;", "k"),
    ("POOL_TYPE", "", "(POOL_TYPE)0"),
    ("ULONG", "", "0"),
    ("Mem", "enum class Mem { Nx = 512, Exec = 0 };", "Mem::Exec"),
    ("Mem", "enum Mem { Nx = 512, Exec = 0 };", "Exec"),
    ("Mem", "typedef enum { Nx = 512, Exec = 0 } Mem;", "Exec"),
]


@pytest.mark.parametrize(("kind", "before", "given"), CHOSEN)
def test_a_new_is_told_by_the_type_of_its_argument(tmp_path, kind, before, given):
    text = before + "\n" + OPERATOR.format(kind) + entry(f"auto p = new ({given}) int;")
    evidence = one_file(tmp_path, text, "driver.cpp")
    found = [
        one[2:] for one, call in zip(values(evidence), evidence.calls, strict=True) if not call.dead
    ]
    assert found and all(one == ({0}, True) for one in found)
    assert "execute-pool-type" in bad(evidence)


@pytest.mark.parametrize("given", ["buffer", "&k", "*p", "this->Place", "Get()"])
def test_the_place_of_an_object_chooses_no_pool(tmp_path, given):
    text = OPERATOR.format("POOL_TYPE") + "void *operator new(size_t n, void *p) { return p; }\n"
    text += entry(f"PVOID buffer; auto p = new ({given}) int;")
    evidence = one_file(tmp_path, text, "driver.cpp")
    assert [call.dead for call in evidence.calls] == ["no `new` of the sources uses this operator"]
    assert "execute-pool-type" not in bad(evidence)


CHOICE = """
template <bool Nx> void *Get()
{
    if constexpr (Nx) { return ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a'); }
    else { return ExAllocatePoolWithTag(NonPagedPool, 8, 'b'); }
}
"""
PLAIN = CHOICE.replace("template <bool Nx> ", "")


@pytest.mark.parametrize(
    ("text", "used", "fails"),
    [
        (CHOICE, "Get<true>();", False),
        (CHOICE, "Get<false>();", True),
        (CHOICE, "Get<true>(); Get<false>();", True),
        (CHOICE, "Get<sizeof(int) == 4>();", False),
        (CHOICE, "Get<sizeof(Own) == 4>();", True),
        (CHOICE.replace("(Nx)", "(!Nx)"), "Get<true>();", True),
        ("constexpr bool Nx = true;\n" + PLAIN, "Get();", False),
        (PLAIN.replace("(Nx)", "(sizeof(void *) == 8)"), "Get();", True),
    ],
)
def test_a_branch_that_no_template_compiles(tmp_path, text, used, fails):
    evidence = one_file(tmp_path, text + entry(used), "driver.cpp")
    assert ("execute-pool-type" in bad(evidence)) is fails


RULE = "execute-pool-type"
WRAPPER = """
class Memory {
    PVOID p;
public:
    Memory(POOL_TYPE t, SIZE_T n) : p(ExAllocatePoolWithTag(t, n, 1)) {}
    explicit Memory(POOL_TYPE t);
    ~Memory() {}
};
Memory::Memory(POOL_TYPE t) : p(ExAllocatePoolWithTag(t, 1, 1)) {}
"""
MADE = {
    "variable": "void f() { Memory x(@, 8); }",
    "variable of one argument": "void f() { Memory x(@); }",
    "braces": "void f() { Memory x{@, 8}; }",
    "list": "void f() { Memory x = {@, 8}; }",
    "global": "Memory x(@, 8);",
    "new": "void f() { auto x = new Memory(@, 8); }",
    "placement": "void f() { auto x = new (0) Memory{@, 8}; }",
    "temporary": "void f() { Use(Memory{@, 8}); }",
    "call": "void f() { auto x = Memory(@, 8); }",
    "member": "struct D { Memory m; D() : m(@, 8) {} };",
    "member with a default": "struct D { Memory m{@, 8}; };",
    "base": "struct D : public Memory { D() : Memory(@, 8) {} };",
    "typedef": "typedef Memory M; void f() { M x(@, 8); }",
    "alias": "using M = Memory; void f() { M x{@, 8}; }",
    "call of an alias": "using M = Memory; void f() { auto x = M(@, 8); }",
    "macro": "#define M Memory\nvoid f() { M x(@, 8); }",
    "heir": "struct D : Memory { using Memory::Memory; }; void f() { D x(@, 8); }",
    "array": "void f() { Memory x[] = {{@, 8}}; }",
    "result": "Memory f() { return {@, 8}; }",
    "name space": "namespace n { using ::Memory; } void f() { n::Memory x(@, 8); }",
}


@pytest.mark.parametrize("way", MADE)
@pytest.mark.parametrize("other", ["", "void g() { auto y = Memory(NonPagedPoolNx, 8); }\n"])
def test_what_a_constructor_gets(tmp_path, way, other):
    text = "#include <ntddk.h>\n" + WRAPPER + other + MADE[way]
    one_argument = "of one argument" in way
    if not one_argument:
        text = text.replace(
            "Memory::Memory(POOL_TYPE t) : p(ExAllocatePoolWithTag(t, 1, 1)) {}", ""
        )
    assert bad(one_file(tmp_path, text.replace("@", "NonPagedPool"), "d.cpp")) == {RULE}
    if not one_argument:
        assert not bad(one_file(tmp_path, text.replace("@", "NonPagedPoolNx"), "d.cpp"))


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("void f() { Memory x; }", {RULE}),
        ("void f() { Memory x[2]; }", {RULE}),
        ("struct D { Memory m; };", {RULE}),
        ("struct D : Memory {};", {RULE}),
        ("void f() { auto x = new Memory; }", {RULE}),
        ("void f(Memory &a, Memory *b); extern Memory c; struct D { Memory *m; };", set()),
        ("void f() { auto x = Make<Memory>(1); }", {RULE}),
    ],
)
def test_what_a_constructor_gets_by_default(tmp_path, way, expected):
    text = "#include <ntddk.h>\nclass Memory { PVOID p; public:\n"
    text += "Memory(POOL_TYPE t = NonPagedPool) : p(ExAllocatePoolWithTag(t, 8, 1)) {} };\n"
    text += "void g() { auto y = Memory(NonPagedPoolNx); }\n"
    assert bad(one_file(tmp_path, text + way, "d.cpp")) == expected


TEMPLATE = "template<class T> class Memory { PVOID p; public:\n"
TEMPLATE += "Memory(POOL_TYPE t, SIZE_T n) : p(ExAllocatePoolWithTag(t, n, 1)) {} };\n"


@pytest.mark.parametrize(
    "way",
    [
        "void f() { Memory<int> x(@, 8); }",
        "void f() { auto x = new Memory<int>{@, 8}; }",
        "using M = Memory<char>; void f() { M x(@, 8); }",
        "struct D { Memory<int> m; D() : m(@, 8) {} };",
        "struct D : Memory<int> { D() : Memory<int>(@, 8) {} };",
    ],
)
def test_what_the_constructor_of_a_template_gets(tmp_path, way):
    text = f"#include <ntddk.h>\n{TEMPLATE}void g() {{ Memory<long> y(NonPagedPoolNx, 8); }}\n{way}"
    assert bad(one_file(tmp_path, text.replace("@", "NonPagedPool"), "d.cpp")) == {RULE}
    assert not bad(one_file(tmp_path, text.replace("@", "NonPagedPoolNx"), "d.cpp"))


def test_an_object_that_a_pool_type_becomes(tmp_path):
    text = "#include <ntddk.h>\nclass Memory { PVOID p; public:\n"
    text += "Memory(POOL_TYPE t) : p(ExAllocatePoolWithTag(t, 8, 1)) {} };\n"
    text += "void f() { auto y = Memory(NonPagedPoolNx); Memory x = NonPagedPool; Memory z = x; }\n"
    assert bad(one_file(tmp_path, text, "d.cpp")) == {RULE}
    text = text.replace("NonPagedPool;", "NonPagedPoolNx;")
    assert not bad(one_file(tmp_path, text, "d.cpp"))


def test_more_objects_than_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("hvci.source.program.constructors.MAX_PLACES", 2)
    text = f"#include <ntddk.h>\n{TEMPLATE.partition('> ')[2]}void f() {{\n"
    text += (
        "Memory a(NonPagedPoolNx, 1); Memory b(NonPagedPoolNx, 1); Memory c(NonPagedPool, 1); }\n"
    )
    assert bad(one_file(tmp_path, text, "d.cpp")) == {RULE}


# ---- calls with arguments of a template


TAKES = "template <class T> void *Get(POOL_TYPE k) { return ExAllocatePoolWithTag(k, 8, 'a'); }\n"
HAS = f"struct S {{ {TAKES}}};\nstruct Z {{ {TAKES.replace('void *', 'static void *')}}};\n"


@pytest.mark.parametrize(
    ("before", "body"),
    [
        (TAKES, "Get<int>({}); Get<long>(PagedPool);"),
        (TAKES, "Get<A<B<int>>>({}); Get<long>(PagedPool);"),
        (TAKES, "n::Get <int> ({}); Get<long>(PagedPool);"),
        (HAS, "S s; s.Get<int>({}); s.Get<long>(PagedPool);"),
        (HAS, "S *s; s->Get<int>({}); s->Get<long>(PagedPool);"),
        (HAS, "Z::Get<int>({}); Z::Get<long>(PagedPool);"),
        (HAS, "T q; q.template Get<int>({}); q.template Get<long>(PagedPool);"),
        (HAS, "T *q; q->template Get<int>({}); q->template Get<long>(PagedPool);"),
        (HAS, "T::template Get<int>({}); T::template Get<long>(PagedPool);"),
    ],
)
def test_a_call_that_says_which_template(tmp_path, before, body):
    for kind, expected in (("NonPagedPool", {"execute-pool-type"}), ("NonPagedPoolNx", set())):
        text = before + entry(body.format(kind))
        assert bad(one_file(tmp_path, text, "d.cpp")) == expected


def test_what_only_looks_like_arguments_of_a_template(tmp_path):
    text = "int Get(POOL_TYPE k) { ExAllocatePoolWithTag(k, 8, 'a'); return 1; }\n"
    text += entry("if (x.Get < 1 && y > (NonPagedPool)) Get(PagedPool);")
    assert bad(one_file(tmp_path, text, "d.cpp")) == set()

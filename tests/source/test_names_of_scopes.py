"""One name for several things: namespaces, classes, enumerations, functions and structures."""

import pytest

from sources import bad, entry, lay, one_file, read, value_of

CALL = "ExAllocatePoolWithTag({}, 8, 'a');"
IN_TWO = """
{before}
namespace n {{ int First(); const POOL_TYPE K = NonPagedPool;
  POOL_TYPE Get() {{ return NonPagedPool; }}
  enum class E {{ A = 0, B = 1 }}; struct S {{ static const POOL_TYPE K = NonPagedPool; }}; }}
namespace m {{ int First(); const POOL_TYPE K = NonPagedPoolNx;
  POOL_TYPE Get() {{ return NonPagedPoolNx; }}
  enum class E {{ A = 512, B = 1 }}; struct S {{ static const POOL_TYPE K = NonPagedPoolNx; }};
  {inside} }}
{behind}
"""
USES = ["@::K", "@::Get()", "(POOL_TYPE)@::E::A", "@::S::K", "static_cast<POOL_TYPE>(@::E::A)"]


def driver(tmp_path, used, before="", inside="", behind=""):
    text = IN_TWO.format(before=before, inside=inside, behind=behind)
    return one_file(tmp_path, text + entry(CALL.format(used)), "driver.cpp")


@pytest.mark.parametrize("used", USES)
@pytest.mark.parametrize("space", ["n", "m"])
def test_a_scope_says_which_one_is_meant(tmp_path, used, space):
    evidence = driver(tmp_path, used.replace("@", space))
    assert ("execute-pool-type" in bad(evidence)) is (space == "n")


@pytest.mark.parametrize(
    ("behind", "used"),
    [
        ("namespace x = @;", "x::K"),
        ("using namespace @;", "K"),
        ("using @::K;", "K"),
        ("using @::Get;", "Get()"),
        ("using T = @::S;", "T::K"),
        ("typedef @::S T;", "T::K"),
        ("struct T : @::S {};", "T::K"),
        ("template <class T> POOL_TYPE Of() { return T::K; }", "Of<@::S>()"),
    ],
)
def test_another_name_for_a_scope_is_never_taken_for_a_good_one(tmp_path, behind, used):
    evidence = driver(tmp_path, used.replace("@", "n"), behind=behind.replace("@", "n"))
    assert "execute-pool-type" in bad(evidence)


IN_M = "void F() { " + CALL.format("K") + " }"


def test_the_inmost_scope_counts(tmp_path):
    assert "execute-pool-type" not in bad(driver(tmp_path, "PagedPool", inside=IN_M))
    outer = "const POOL_TYPE K = NonPagedPool;"
    evidence = driver(tmp_path, "PagedPool", before=outer, inside=IN_M)
    assert "execute-pool-type" not in bad(evidence)
    assert "execute-pool-type" in bad(driver(tmp_path, "::K", before=outer, inside=IN_M))


@pytest.mark.parametrize(
    ("text", "used", "fails"),
    [
        ("enum class P { NonPagedPool = 512 };", "(POOL_TYPE)P::NonPagedPool", False),
        ("enum class P { NonPagedPool = ::NonPagedPoolNx };", "(POOL_TYPE)P::NonPagedPool", False),
        ("enum class P { NonPagedPoolNx = 0 };", "(POOL_TYPE)P::NonPagedPoolNx", True),
        (
            "namespace P { const POOL_TYPE NonPagedPoolNx = (POOL_TYPE)0; }",
            "P::NonPagedPoolNx",
            True,
        ),
        ("", "POOL_TYPE::NonPagedPool", True),
        ("", "::NonPagedPoolNx", False),
    ],
)
def test_a_name_of_the_kit_in_a_scope_of_the_driver(tmp_path, text, used, fails):
    evidence = one_file(tmp_path, text + entry(CALL.format(used)), "driver.cpp")
    assert ("execute-pool-type" in bad(evidence)) is fails


def test_what_another_file_defines_in_a_scope(tmp_path):
    head = "namespace n { extern POOL_TYPE K; }\n"
    used = "namespace m { const POOL_TYPE K = NonPagedPoolNx; int Q() { return K; } }\n"
    for value, fails in (("NonPagedPool", True), ("NonPagedPoolNx", False)):
        lay(
            tmp_path,
            n__h=head,
            one__cpp=f'#include <ntddk.h>\n#include "n.h"\nPOOL_TYPE n::K = {value};\n',
            two__cpp='#include "n.h"\n' + used + entry(CALL.format("n::K")),
        )
        assert ("execute-pool-type" in bad(read(tmp_path))) is fails


def test_namespaces_without_a_name_are_of_their_files(tmp_path):
    space = (
        "#include <ntddk.h>\nnamespace {{ int A() {{ return 1; }}\nPOOL_TYPE K() {{ return {}; }}\n"
    )
    space += "int B() {{ return K(); }} }}\n"
    lay(tmp_path, one__cpp=space.format("NonPagedPool"))
    lay(tmp_path, two__cpp=space.format("NonPagedPoolNx") + entry(CALL.format("K()")))
    assert "execute-pool-type" not in bad(read(tmp_path))


OTHER = "void Other(void) { POOL_TYPE Kind = NonPagedPool; Use(Kind); Kind = NonPagedPool; }\n"
RECORD = "struct Of { int a; POOL_TYPE Kind; };\n"


@pytest.mark.parametrize(
    ("text", "body", "fails"),
    [
        (OTHER + "POOL_TYPE Kind = NonPagedPoolNx;\n", "f(Kind)", False),
        (
            OTHER + "static POOL_TYPE Kind[2] = { NonPagedPoolNx, PagedPool };\n",
            "f(Kind[1])",
            False,
        ),
        (OTHER + RECORD, "struct Of *p; p->Kind = NonPagedPoolNx; f(p->Kind)", False),
        (
            "POOL_TYPE Kind = NonPagedPool;\n" + RECORD,
            "struct Of *p; p->Kind = NonPagedPoolNx; f(p->Kind)",
            False,
        ),
        (
            "POOL_TYPE Kind = NonPagedPoolNx;\n"
            + RECORD
            + "void G(struct Of *p) { p->Kind = 0; }\n",
            "f(Kind)",
            False,
        ),
        (OTHER + "POOL_TYPE Kind = NonPagedPool;\n", "f(Kind)", True),
        (OTHER, "POOL_TYPE Kind[2]; Kind[0] = NonPagedPoolNx; f(Kind[0])", False),
        (OTHER, "POOL_TYPE Kind[2]; Kind[0] = NonPagedPool; f(Kind[0])", True),
        ("POOL_TYPE Kind;\n" + OTHER.replace("NonPagedPool", "NonPagedPoolNx"), "f(Kind)", True),
        (
            RECORD + "void G(struct Of *p) { p->Kind = NonPagedPool; }\n",
            "struct Of *p; f(p->Kind)",
            True,
        ),
    ],
)
def test_variables_of_other_functions_and_fields_are_not_meant(tmp_path, text, body, fails):
    body = body.replace("f(", "ExAllocatePoolWithTag(")[:-1] + ", 8, 'a');"
    evidence = one_file(tmp_path, "#include <ntddk.h>\n" + text + entry(body))
    assert ("execute-pool-type" in bad(evidence)) is fails


TWO_KINDS = """#include <ntddk.h>
typedef struct _A { ULONG Size; POOL_TYPE Kind; } A, *PA;
typedef struct _B { POOL_TYPE Kind; ULONG Size; } B, *PB;
typedef struct _C { ULONG Size; POOL_TYPE Kind; ULONG More; } C, *PC;
void Set(PA a) { a->Kind = NonPagedPool; }
static const A Table[] = { { 1, NonPagedPool } };
static const B Other[] = { { NonPagedPoolNx, 1 } };
"""
F = "ExAllocatePoolWithTag({}, 8, 'a');"


@pytest.mark.parametrize(
    ("body", "fails"),
    [
        ("PB b = G(); b->Kind = NonPagedPoolNx; " + F.format("b->Kind"), False),
        ("struct _B b; b.Kind = NonPagedPoolNx; " + F.format("b.Kind"), False),
        (F.format("Other[0].Kind"), False),
        (F.format("Table[0].Kind"), True),
        ("PA a = G(); " + F.format("a->Kind"), True),
        ("PC c = G(); c->Kind = NonPagedPoolNx; " + F.format("c->Kind"), False),
        ("PC c = (PC)G(); " + F.format("c->Kind"), True),
    ],
)
def test_fields_of_other_structures_are_not_meant(tmp_path, body, fails):
    evidence = one_file(tmp_path, TWO_KINDS + entry(body))
    assert ("execute-pool-type" in bad(evidence)) is fails


def test_structures_of_one_name_in_two_namespaces(tmp_path):
    text = "#include <ntddk.h>\n"
    for space in "nm":
        text += f"namespace {space} {{ int Of(); struct T {{ int a; POOL_TYPE k; }}; }}\n"
    for value, fails in (("NonPagedPoolNx", False), ("NonPagedPool", True)):
        body = f"n::T a; a.k = NonPagedPool; m::T b; b.k = {value}; " + F.format("b.k")
        evidence = one_file(tmp_path, text + entry(body), "driver.cpp")
        assert ("execute-pool-type" in bad(evidence)) is fails


VIRTUAL = """#include <ntddk.h>
struct B {
    virtual POOL_TYPE Kind() { return NonPagedPoolNx; }
    PVOID Get() { return ExAllocatePoolWithTag(Kind(), 8, 'a'); }
};
struct D : B { POOL_TYPE Kind() override { return @; } };
"""


def test_a_method_that_overrides_another_is_meant_as_well(tmp_path):
    for value, fails in (("NonPagedPool", True), ("NonPagedPoolNx", False)):
        text = VIRTUAL.replace("@", value) + entry("D d; d.Get();")
        assert ("execute-pool-type" in bad(one_file(tmp_path, text, "driver.cpp"))) is fails


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("namespace pool = nx;", {512}),
        ("namespace pool = old;", {0}),
        ("namespace pool = deep::inner;", {512}),
        ("namespace first = nx; namespace pool = first;", {512}),
    ],
)
def test_another_name_of_a_namespace(tmp_path, alias, expected):
    text = (
        "namespace nx { constexpr POOL_TYPE kind = NonPagedPoolNx; }\n"
        "namespace old { constexpr POOL_TYPE kind = NonPagedPool; }\n"
        "namespace deep::inner { constexpr POOL_TYPE kind = NonPagedPoolNx; }\n"
        "constexpr POOL_TYPE kind = NonPagedPool;\n" + alias
    )
    body = "ExAllocatePoolWithTag(pool::kind, 8, 'a');"
    evidence = one_file(tmp_path, text + entry(body), "a.cpp")
    assert value_of(evidence, "ExAllocatePoolWithTag")[0] == expected

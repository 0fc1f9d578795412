"""What is not looked at to its end says so; where something has an end, all of it is followed."""

import pytest

from hvci.model.judged import CALL_RULES, TEXT_RULES
from sources import bad, definitions, entry, lay, read, value_of, vcxproj

POOL = "execute-pool-type"
CALL = "p = {}({}, 8, 'a');"


def driver(tmp_path, text, name="a.c"):
    lay(tmp_path, a__vcxproj=vcxproj(name))
    (tmp_path / name).write_text(text)
    return read(tmp_path)


def said(evidence, *words):
    """The limits in which all words are."""
    return [one for one in evidence.limits if all(word in one.reason for word in words)]


# ---- names and uses


NAMES = "#define First ExAllocatePoolWithTag\n#define Second First\n#define Third Second\n"


def test_macros_that_stand_for_routines(tmp_path, monkeypatch):
    text = NAMES + entry(CALL.format("Third", "NonPagedPool"))
    assert bad(driver(tmp_path, text)) == {POOL}
    monkeypatch.setattr("hvci.source.program.aliases.MAX_NAMES", 1)
    (limit,) = said(driver(tmp_path, text), "more than 1 names", "Second", "ExAllocatePoolWithTag")
    assert set(limit.rules) == set(CALL_RULES)


OTHERS = "#define A1 Get\n#define A2 A1\n#define A3 A2\n"
GET = "PVOID Get(POOL_TYPE t) { return ExAllocatePoolWithTag(t, 8, 'a'); }\n"


def test_macros_that_stand_for_a_function(tmp_path, monkeypatch):
    text = OTHERS + GET + entry("p = Get(PagedPool); p = A3(NonPagedPool);")
    assert bad(driver(tmp_path, text)) == {POOL}
    monkeypatch.setattr("hvci.source.program.callbacks.MAX_NAMES", 1)
    assert said(driver(tmp_path, text), "more than 1 macros stand for Get")


def test_other_names_of_a_class(tmp_path, monkeypatch):
    text = "struct A { POOL_TYPE k; A(POOL_TYPE t) : k(t) {} };\ntypedef A B;\ntypedef B C;\n"
    text += entry("A a(PagedPool); C c(NonPagedPool); p = ExAllocatePoolWithTag(c.k, 8, 'a');")
    assert bad(driver(tmp_path, text, "a.cpp")) == {POOL}
    monkeypatch.setattr("hvci.source.program.constructors.MAX_ALIASES", 1)
    assert said(driver(tmp_path, text, "a.cpp"), "the class A has more than 1 other names")


def test_structures_with_a_field_of_one_name(tmp_path, monkeypatch):
    kinds = "".join(f"struct S{n} {{ int before; POOL_TYPE k; }};\n" for n in range(30))
    text = kinds + "struct S29 s = { 1, NonPagedPool };\n"
    text += entry("p = ExAllocatePoolWithTag(s.k, 8, 'a');")
    assert bad(driver(tmp_path, text)) == {POOL}
    monkeypatch.setattr("hvci.source.program.records.MAX_RECORDS", 3)
    assert said(driver(tmp_path, text), "more than 3 structures have a field k")


def test_uses_of_one_function(tmp_path, monkeypatch):
    text = GET + entry("Get(PagedPool); Get(PagedPool); Get(NonPagedPool);")
    monkeypatch.setattr("hvci.source.program.program.MAX_USES", 3)
    assert not said(driver(tmp_path, text), "in more than")
    monkeypatch.setattr("hvci.source.program.program.MAX_USES", 2)
    assert said(driver(tmp_path, text), "Get is called in more than 2 places")


def test_uses_of_operator_new(tmp_path, monkeypatch):
    text = (
        "void *operator new(size_t n, POOL_TYPE t) { return ExAllocatePoolWithTag(t, n, 'a'); }\n"
    )
    text += entry("a = new (PagedPool) A; a = new (PagedPool) A; a = new (NonPagedPool) A;")
    monkeypatch.setattr("hvci.source.program.program.MAX_USES", 2)
    assert said(driver(tmp_path, text, "a.cpp"), "operator new is used in more than 2 places")


def test_a_list_of_another_type_beside_the_name_of_a_class(tmp_path):
    text = "class C { POOL_TYPE k; void go(); static const UCHAR t[]; };\n"
    text += "const UCHAR C::t[] = { 0, 1, 2 };\n"
    text += "void C::go() { k = NonPagedPoolNx; ExAllocatePoolWithTag(k, 8, 'a'); }\n"
    evidence = driver(tmp_path, text + entry(""), "a.cpp")
    assert value_of(evidence, "ExAllocatePoolWithTag") == ({0x200}, True)


# ---- pointers to code


RUN = "void (*run)(void);\nvoid *give(void) {{ return {0}; }}\n"
MEMORY = "ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a')"


def test_stores_of_what_is_called(tmp_path, monkeypatch):
    text = "struct S { void (*run)(void); };\n" + entry(
        "ExAllocatePoolWithTag(NonPagedPool, 1, 'b'); struct S *s = find(); "
        f"s->run = a; s->run = b; keep(s)->run = {MEMORY}; find()->run();"
    )
    assert "dynamic-code" in bad(driver(tmp_path, text))
    monkeypatch.setattr("hvci.source.program.stores.MAX_STORES", 2)
    monkeypatch.setattr("hvci.source.pointers.by_name.MAX_STORES", 2)
    (limit,) = said(driver(tmp_path, text), "run is given a value in more than 2 places")
    assert set(limit.rules) == set(TEXT_RULES)


def test_pointers_that_go_over_many_steps(tmp_path, monkeypatch):
    text = "".join(f"void *f{n}(void) {{ return f{n + 1}(); }}\n" for n in range(90))
    text += f"void *f90(void) {{ return {MEMORY}; }}\n"
    text += entry(
        "void (*run)(void) = ExAllocatePoolWithTag(NonPagedPool, 1, 1); run = f0(); run();"
    )
    assert "dynamic-code" in bad(driver(tmp_path, text))
    monkeypatch.setattr("hvci.source.pointers.origins.MAX_STEPS", 40)
    (limit,) = said(driver(tmp_path, text), "too many calls through pointers")
    assert "dynamic-code" in limit.rules


def test_functions_of_one_name(tmp_path):
    many = "".join(f"static void *f(int a{n}) {{ return 0; }}\n" for n in range(5))
    text = many + f"static void *f(void) {{ return {MEMORY}; }}\n"
    text += entry(
        "void (*run)(void) = ExAllocatePoolWithTag(NonPagedPool, 1, 1); run = f(); run();"
    )
    assert "dynamic-code" in bad(driver(tmp_path, text))


def test_macros_that_call_what_they_get(tmp_path, monkeypatch):
    text = "".join(f"#define CALL{n}(f) (f)()\n" for n in range(3))
    text += entry(f"void *m = {MEMORY}; CALL2(m);")
    assert "dynamic-code" in bad(driver(tmp_path, text))
    monkeypatch.setattr("hvci.source.pointers.macro_calls.MAX_MACROS", 2)
    assert said(driver(tmp_path, text), "more than 2 macros call what they get")


# ---- the way to the NX opt-in


def opting(body, others=""):
    return (
        "#define POOL_NX_OPTIN 1\n#include <ntddk.h>\n"
        + others
        + "void f12(void) { ExAllocatePoolWithTag(NonPagedPool, 8, 'a'); }\n"
        + "".join(f"void f{n}(void) {{ f{n + 1}(); }}\n" for n in reversed(range(12)))
        + entry(body)
    )


INIT = "ExInitializeDriverRuntime(DrvRtPoolNxOptIn);"


@pytest.mark.parametrize(
    ("body", "others"),
    [
        ("f0(); " + INIT, ""),
        ("BEGIN; " + INIT, "#define BEGIN f0()\n"),
        ("BEGIN(1); " + INIT, "#define BEGIN(x) f0()\n"),
        ("n::g(); " + INIT, "namespace n { void g() { f0(); } }\n"),
        ("a.go(); " + INIT, "struct A { void go() { f0(); } } a;\n"),
    ],
)
def test_what_runs_before_the_opt_in(tmp_path, body, others):
    assert bad(driver(tmp_path, opting(body, others), "a.cpp")) == {POOL}
    late = opting(INIT + body.removesuffix(INIT), others)
    assert bad(driver(tmp_path, late, "a.cpp")) == set()


def test_a_long_way_to_the_opt_in(tmp_path):
    others = f"void g12(void) {{ {INIT} }}\n"
    others += "".join(f"void g{n}(void) {{ g{n + 1}(); }}\n" for n in reversed(range(12)))
    assert bad(driver(tmp_path, opting("g0(); f0();", others))) == set()


# ---- build files


def test_options_in_a_file_that_is_too_large(tmp_path, monkeypatch):
    extra = definitions("@a.rsp", element="AdditionalOptions")
    lay(tmp_path, a__vcxproj=vcxproj("a.c", extra=extra), a__c=entry(""))
    (tmp_path / "a.rsp").write_text("/DA=1 /DB=2")
    assert not said(read(tmp_path), "options in a.rsp")
    monkeypatch.setattr("hvci.source.builds.msbuild.builds.MAX_OPTIONS", 4)
    assert said(read(tmp_path), "the compiler's options in a.rsp could not be read")


def test_configurations_of_sheets_that_import_sheets(tmp_path):
    sheet = '<Project><Import Project="s{}.props" /></Project>'
    for n in range(8):
        (tmp_path / f"s{n}.props").write_text(sheet.format(n + 1))
    (tmp_path / "s8.props").write_text(
        "<Project><ItemGroup><ProjectConfiguration Include='Own|ARM64' /></ItemGroup></Project>"
    )
    extra = '<Import Project="s0.props" />' + definitions("K=0", "'$(Configuration)'=='Own'")
    text = "#ifndef K\n#define K 512\n#endif\n" + entry(CALL.format("ExAllocatePoolWithTag", "K"))
    lay(tmp_path, a__vcxproj=vcxproj("a.c", extra=extra), a__c=text)
    assert bad(read(tmp_path)) == {POOL}


MAKE = "include {}\na.sys: a.c\n\tcc $(FLAGS) a.c -o a.sys\n"


@pytest.mark.parametrize("named", ["flags.mk", "*.mk", "f*.mk"])
def test_makefiles_that_are_included(tmp_path, named, monkeypatch):
    text = "#ifndef K\n#define K 512\n#endif\n" + entry(CALL.format("ExAllocatePoolWithTag", "K"))
    lay(tmp_path, Makefile=MAKE.format(named), flags__mk="FLAGS = -DK=0\n", a__c=text)
    assert bad(read(tmp_path)) == {POOL}
    monkeypatch.setattr("hvci.source.builds.makefiles.MAX_BYTES", 60)
    (tmp_path / "flags.mk").write_text("# x\n" * 20 + "FLAGS = -DK=0\n")
    assert said(read(tmp_path), "what stands behind its first")


def test_a_makefile_that_grows(tmp_path, monkeypatch):
    lists = "A = a b c d e f g h\nB = $(foreach x,$(A),$(A))\nC = $(foreach x,$(B),$(B))\n"
    lay(tmp_path, Makefile=lists + "a.sys: a.c $(C)\n\tcc a.c -o a.sys\n", a__c=entry(""))
    assert not said(read(tmp_path), "written out")
    monkeypatch.setattr("hvci.source.builds.makefiles.MAX_TEXT", 400)
    assert said(read(tmp_path), "with its variables written out")


def test_a_list_of_more_than_200_words(tmp_path):
    text = entry(CALL.format("ExAllocatePoolWithTag", "NonPagedPool"))
    words = " ".join(f"w{n}" for n in range(300)) + " z"
    make = f"A = {words}\nOBJ = $(foreach x,$(A),$(x).o)\na.sys: $(OBJ)\n\tld $(OBJ) -o a.sys\n"
    lay(tmp_path, Makefile=make, z__c=text)
    assert bad(read(tmp_path)) == {POOL}


def test_more_files_of_meson_than_are_looked_at(tmp_path, monkeypatch):
    text = "project('a', 'c')\nsubdir('one')\nshared_library('a', 'a.c', name_suffix : 'sys')\n"
    lay(tmp_path, meson__build=text, one___meson__build="", a__c=entry(""))
    assert not said(read(tmp_path), "one/meson.build")
    monkeypatch.setattr("hvci.source.builds.meson.MAX_FILES", 1)
    assert said(read(tmp_path), "one/meson.build")

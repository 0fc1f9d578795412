"""Whatever is wrong with an input: a limit that names the file, the rest evaluated, in time."""

import os
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clock import Clock
from hvci.errors import InputError
from hvci.evaluate import evaluate
from hvci.model import NEWEST, Outcome
from hvci.source import survey
from hvci.source.builds.products import unbuilt
from hvci.source.preprocess import unit as preprocess
from hvci.source.preprocess.conditions import Setting, holds
from hvci.source.preprocess.tree import Text, Trees
from hvci.source.program import program
from hvci.source.text.disk import contents
from hvci.source.text.files import Shelf
from hvci.source.text.text import MAX_BYTES, Source
from hvci.source.values import resolve
from hvci.source.values.resolve import Resolver
from sources import bad, definitions, entry, lay, one_file, read, value_of, vcxproj

POOL = "p = ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"
GOOD = entry("p = ExAllocatePoolWithTag(PagedPool, 8, 'a');")


def limits(evidence):
    """The reasons of all limits, as one text."""
    return "\n".join(limit.reason for limit in evidence.limits)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("binary.c", b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff" * 99),
        ("huge.c", b"int a;\n" * (MAX_BYTES // 7 + 1)),
        ("lone.c", b"\xff\xfe\x00\xd8"),
        ("zero.c", b"int x;\0\0\0 more"),
    ],
)
def test_a_bad_file_is_named_and_the_rest_is_read(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    lay(tmp_path, good__c=GOOD)
    evidence = read(tmp_path)
    assert name in limits(evidence)
    assert value_of(evidence, "ExAllocatePoolWithTag") == ({1}, True)


@pytest.mark.parametrize("text", ["", "\n", "}}}}}", "((((((((", '"', "/*", "#if", "#endif", "'"])
def test_odd_texts_are_read(tmp_path, text):
    assert one_file(tmp_path, text).calls == ()


@pytest.mark.parametrize(
    "text",
    [
        "int f(){" * 20000,
        "int x = " + "(" * 50000 + "1" + ")" * 50000 + ";",
        "#if A\n" * 5000 + "int x;\n" + "#endif\n" * 5000,
        "p = ExAllocatePoolWithTag(" + "(" * 3000 + "PagedPool" + ")" * 3000 + ", 8, 'a');",
        "#define A0 NonPagedPool\n"
        + "".join(f"#define A{i + 1} A{i} | A{i}\n" for i in range(60))
        + "VOID f(void) { p = ExAllocatePoolWithTag(A60, 8, 'a'); }",
        "#define A B\n#define B A\nVOID f(void) { p = ExAllocatePoolWithTag(A, 8, 'a'); }",
        "VOID f(POOL_TYPE k) { f(k); p = ExAllocatePoolWithTag(k, 8, 'a'); }",
    ],
    ids=["braces", "parentheses", "conditions", "argument", "macros", "cycle", "recursion"],
)
def test_deep_and_cyclic_texts_take_bounded_time(tmp_path, text):
    with Clock() as clock:
        one_file(tmp_path, text)
    assert clock.seconds < 10


def test_a_missing_header_is_named(tmp_path):
    lay(tmp_path, a__c='#include "lost.h"\n#include <gone.h>\n' + GOOD)
    said = limits(read(tmp_path))
    assert "lost.h" in said
    assert "gone.h" not in said
    assert "ntddk.h" not in said


def test_headers_that_include_each_other(tmp_path):
    lay(tmp_path, a__h='#include "b.h"\n', b__h='#include "a.h"\n#define K PagedPool\n')
    lay(tmp_path, c__c='#include "a.h"\n' + GOOD.replace("PagedPool", "K"))
    assert value_of(read(tmp_path / "c.c"), "ExAllocatePoolWithTag") == ({1}, True)


@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1251"]
)
def test_encodings(tmp_path, codec):
    text = "// Привет\n" + GOOD
    (tmp_path / "a.c").write_bytes(text.encode(codec))
    ((line, _, possible, _),) = [
        (call.site.line, call.ddi, call.arguments["PoolType"].possible, 0)
        for call in read(tmp_path).calls
    ]
    assert possible == {1}
    assert text.splitlines()[line - 1].lstrip().startswith("p = ExAllocatePool")


def test_columns_count_characters(tmp_path):
    text = "VOID f(void) { /* Ж */ p = ExAllocatePoolWithTag(PagedPool, 8, 'a'); }"
    (call,) = one_file(tmp_path, text).calls
    assert call.site.column == text.index("ExAllocate") + 1


# ---- projects


def test_a_project_that_is_no_xml(tmp_path):
    lay(tmp_path, a__vcxproj="<Project><oops", a__c=GOOD)
    evidence = read(tmp_path)
    assert "a.vcxproj" in limits(evidence)
    assert len(evidence.calls) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_project_with_entities_is_refused(tmp_path, encoding):
    bomb = '<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Project>&b;</Project>'
    bomb = f'<?xml version="1.0" encoding="{encoding}"?>{bomb}'
    lay(tmp_path, a__c=GOOD)
    (tmp_path / "a.vcxproj").write_bytes(bomb.encode(encoding))
    assert "entities" in limits(read(tmp_path))


def test_imports_that_import_each_other_and_missing_ones(tmp_path):
    a = '<Project><Import Project="b.props"/><Import Project="lost.props"/></Project>'
    b = f'<Project><Import Project="a.props"/>{definitions("POOL_NX_OPTIN_AUTO=1")}</Project>'
    project = vcxproj("d.c", extra='<Import Project="a.props" />')
    lay(
        tmp_path, a__props=a, b__props=b, d__vcxproj=project, d__c=GOOD.replace("Paged", "NonPaged")
    )
    evidence = read(tmp_path)
    assert "lost.props is missing" in limits(evidence)
    assert not bad(evidence)


def test_a_compiled_file_that_is_missing(tmp_path):
    lay(tmp_path, d__vcxproj=vcxproj("d.c", "lost.c"), d__c=GOOD)
    evidence = read(tmp_path)
    assert "lost.c" in limits(evidence)
    assert any("execute-pool-type" in limit.rules for limit in evidence.limits)


def test_a_solution_whose_project_is_missing(tmp_path):
    line = 'Project("{8BC9CEB8}") = "drv", "drv\\drv.vcxproj", "{1234}"\nEndProject\n'
    lay(tmp_path, all__sln=line, a__c=GOOD)
    assert "drv/drv.vcxproj" in limits(read(tmp_path))


def test_paths_with_dots_and_other_case(tmp_path):
    project = vcxproj("..\\SRC\\.\\Driver.C")
    lay(tmp_path, prj___d__vcxproj=project, src___driver__c=GOOD)
    for target in (tmp_path, tmp_path / "prj" / "d.vcxproj"):
        evidence = read(target)
        assert value_of(evidence, "ExAllocatePoolWithTag") == ({1}, True)
        assert not any("no project" in limit.reason for limit in evidence.limits)


def test_a_link_in_a_circle_beside_a_file_is_no_project(tmp_path):
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "a.c").write_text("PVOID f(void) { return ExAllocatePool(NonPagedPool, 1); }")
    assert [call.ddi for call in read(tmp_path / "a.c").calls] == ["ExAllocatePool"]


def test_symlink_loops_are_named(tmp_path):
    lay(tmp_path, d__c=GOOD)
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    evidence = read(tmp_path)
    assert "again: a symbolic link leads here again" in limits(evidence)
    assert len(evidence.calls) == 1


@pytest.mark.parametrize("name", ["", "notes.txt", "lost.c"])
def test_nothing_to_read_is_an_error(tmp_path, name):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError):
        read(tmp_path / name)


def test_a_file_without_a_call_is_evidence(tmp_path):
    evidence = one_file(tmp_path, "int x;")
    assert evidence.calls == ()
    assert "source" in {str(origin) for origin in evidence.origins}


# ---- laws

PIECES = st.sampled_from(
    [
        "#if A",
        "#ifdef B",
        "#elif 1",
        "#else",
        "#endif",
        "{",
        "}",
        "(",
        ")",
        ",",
        ";",
        '"',
        "'",
        "\\",
        "/*",
        "*/",
        "//",
        "\n",
        "ExAllocatePoolWithTag",
        "NonPagedPool",
        "new (",
        "#define X",
        "=",
        "?",
    ]
)


@given(st.lists(PIECES, max_size=60).map(" ".join))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_is_read(tmp_path, text):
    evidence = one_file(tmp_path, text)
    assert all(call.site.line >= 1 for call in evidence.calls)


@given(st.text(alphabet="()!&|<>=A1 definedNTDDI_VERSION", max_size=60))
def test_any_condition_has_an_answer(text):
    assert holds("if", text, Setting({"A": 1, "NTDDI_VERSION": 5}, frozenset(("d",)))) in (
        True,
        False,
        None,
    )


@given(
    st.lists(st.sampled_from(["#if X", "#if 1", "#else", "#elif 0", "#endif", "x;"]), max_size=30)
)
def test_any_nesting_has_branches(lines):
    source = Source("a.c", "\n".join(lines).encode())
    text = Text(source)
    run = preprocess.run("a.c", unbuilt(NEWEST, False), lambda _: text.directives, lambda *_: None)
    (choice,) = run.files["a.c"]
    for offset in range(0, len(source.text), 3):
        assert Trees(text, choice).live(offset) in (True, False, None)


# ---- the preprocessor

HOSTILE = {
    "cycle": {"a.h": '#include "b.h"\n', "b.h": '#include "a.h"\n#include "b.h"\n#define K 1\n'},
    "doubling": {
        **{f"h{i}.h": f'#include "h{i + 1}.h"\n' * 2 for i in range(30)},
        "a.h": '#include "h0.h"\n',
    },
    "macros": {
        "a.h": "#define A0 1\n"
        + "".join(f"#define A{i + 1} (A{i}+A{i})\n" for i in range(60))
        + "#if A60 > 3\n#endif\n"
    },
    "arguments": {"a.h": f"#define F(x) (x x x x)\n#if {'F(' * 60}1{')' * 60}\n#endif\n"},
    "itself": {"a.h": "#define A A\n#define B() B() B()\n#if A + B()\n#endif\n"},
    "shift": {"a.h": "#if 1 << 99999999999 || 1 / 0 || -1 % 0 || (\n#endif\n#if\n#endif\n"},
    "product": {"a.h": "#if " + "*".join(["0xFFFFFFFFFFFFFFFF"] * 3000) + "\n#endif\n"},
    "nested": {"a.h": "#ifdef A\n" * 5000 + "#endif\n" * 5000},
    "long": {"a.h": "#define X 1\n" * 100_000},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_headers_are_bounded_and_lose_nothing(tmp_path, name):
    for file, text in HOSTILE[name].items():
        (tmp_path / file).write_text(text)
    lay(tmp_path, d__c='#include "a.h"\n' + GOOD, d__vcxproj=vcxproj("d.c"))
    with Clock() as clock:
        evidence = read(tmp_path)
    assert clock.seconds < 10
    assert value_of(evidence, "ExAllocatePoolWithTag") == ({1}, True)


def test_a_cycle_of_headers_is_one_limit(tmp_path):
    lay(tmp_path, a__h='#include "b.h"\n', b__h='#include "a.h"\n', c__vcxproj=vcxproj("c.c"))
    lay(tmp_path, c__c='#include "a.h"\n' + GOOD)
    assert limits(read(tmp_path)).count("preprocessing was given up") == 1


def test_a_project_with_very_many_units(tmp_path):
    names = [f"u{i}.c" for i in range(1500)]
    lay(
        tmp_path,
        d__vcxproj=vcxproj(*names),
        k__h="#ifndef K\n#define K\n#define KIND PagedPool\n#endif\n",
    )
    for name in names:
        text = '#include "k.h"\n' + GOOD.replace("PagedPool", "KIND")
        (tmp_path / name).write_text(text.replace("DriverEntry", f"F{name[1:-2]}"))
    with Clock() as clock:
        evidence = read(tmp_path)
    assert clock.seconds < 60
    assert len(evidence.calls) == 1500
    assert not bad(evidence)


def very_many(folder, count):
    """A driver of so many files; the last alone compiles the call that their header holds."""
    call = entry("p = ExAllocatePoolWithTag(NonPagedPool, 8, 'a');")
    (folder / "k.h").write_text(f"#ifdef LAST\n{call}\n#endif\n")
    for n in range(count):
        last = "#define LAST\n" * (n == count - 1)
        text = f'{last}#include "k.h"\nint f{n}(void) {{ return {n}; }}\n'
        (folder / f"u{n:04}.c").write_text(text)
    lay(folder, d__vcxproj=vcxproj("*.c"))


def test_what_one_of_5000_units_compiles_is_not_lost(tmp_path):
    very_many(tmp_path, 5000)
    with Clock() as clock:
        evidence = read(tmp_path)
    assert clock.seconds < 10
    assert len(bad(evidence)) == 1
    assert "first" not in limits(evidence)


def test_more_units_than_are_looked_at_together_are_one_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "MAX_RUNS", 10)
    very_many(tmp_path, 20)
    lay(tmp_path, other__h="int x;\n")
    evidence = read(tmp_path)
    assert not bad(evidence)
    assert limits(evidence).count("20 compiled files") == 1
    assert any("execute-pool-type" in limit.rules for limit in evidence.limits)


def test_the_last_of_100000_lines_is_read(tmp_path):
    lines = "".join(f"int f{n}(int a)\n{{\n  g(a);\n  return a;\n}}\n" for n in range(20_000))
    with Clock() as clock:
        evidence = one_file(
            tmp_path, lines + entry("p = ExAllocatePoolWithTag(NonPagedPool, 8, 'a');")
        )
    assert clock.seconds < 5
    (call,) = evidence.calls
    assert call.site.line > 100_000
    assert bad(evidence)


def test_files_that_cannot_be_read(tmp_path):
    lay(tmp_path, d__vcxproj=vcxproj("d.c", "e.c"), d__c='#include "h.h"\n' + GOOD)
    (tmp_path / "h.h").write_bytes(b"\0\1\2" * 40)
    (tmp_path / "e.c").symlink_to(tmp_path / "gone.c")
    said = limits(read(tmp_path))
    assert "h.h" in said
    assert "e.c" in said


def test_many_calls_behind_many_exits_of_one_function(tmp_path):
    body = "".join(
        f"if (f{n}) return 0; p = ExAllocatePoolWithTag(NonPagedPoolNx, 8, {n}); "
        for n in range(2000)
    )
    assert len(one_file(tmp_path, entry(body)).calls) == 2000


MISSING = '<Import Project="$(SOME_KIT)\\kit.props" />'


def test_a_missing_import_may_hold_what_decides(tmp_path):
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=MISSING), d__c=GOOD)
    evidence = read(tmp_path)
    assert "kit.props is missing" in limits(evidence)
    assert any("execute-pool-type" in limit.rules for limit in evidence.limits)


def test_an_opt_in_whose_definition_may_stand_in_a_missing_import(tmp_path):
    text = entry("ExInitializeDriverRuntime(DrvRtPoolNxOptIn); " + POOL)
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=MISSING), d__c=text)
    result = next(one for one in evaluate(tmp_path).results if one.rule == "execute-pool-type")
    assert result.outcome is Outcome.UNDECIDED
    assert "kit.props, which is missing here" in result.findings[0].message


def test_a_missing_import_does_not_excuse_a_driver_that_never_opts_in(tmp_path):
    lay(tmp_path, d__vcxproj=vcxproj("d.c", extra=MISSING), d__c=entry(POOL))
    result = next(one for one in evaluate(tmp_path).results if one.rule == "execute-pool-type")
    assert result.outcome is Outcome.FAIL


@pytest.mark.parametrize("name", ["x" * 300 + ".c", "d/" * 3000 + "e.c", "a\0.c"])
def test_a_file_whose_name_no_disk_takes_is_not_there(tmp_path, name):
    lay(tmp_path, sources=f"TARGETNAME=d\nTARGETTYPE=DRIVER\nSOURCES=good.c {name}\n", good__c=GOOD)
    assert value_of(read(tmp_path), "ExAllocatePoolWithTag") == ({1}, True)
    for other, text in (("CMakeLists.txt", f"project(d C)\nwdk_add_driver(d good.c {name})\n"),):
        (tmp_path / other).write_text(text)
        assert value_of(read(tmp_path), "ExAllocatePoolWithTag") == ({1}, True)


# ---- files that are none

PROJECTS = (
    *("x.sln", "x.slnx", "y.vcxproj", "sources", "CMakeLists.txt", "z.cmake", "makefile"),
    *("makefile.inc", "meson.build", "d.inf", "b.c", "h.h", "m.asm", "Cargo.toml"),
)


@pytest.mark.parametrize("name", PROJECTS)
@pytest.mark.parametrize("how", ["link", "loop", "pipe"])
def test_what_is_no_regular_file_is_a_limit_and_nothing_is_lost(tmp_path, name, how):
    lay(tmp_path, a__c=GOOD, d__vcxproj=vcxproj("a.c"))
    path = tmp_path / name
    if how == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere" if how == "link" else name)
    evidence = read(tmp_path)
    assert value_of(evidence, "ExAllocatePoolWithTag") == ({1}, True)
    if name != "Cargo.toml" or how == "pipe":
        assert name in limits(evidence)
    with pytest.raises(InputError):
        read(path)


LINKED = definitions("e.lib", element="AdditionalDependencies", item="Link")
PIPED = [
    ("sub/CMakeLists.txt", "CMakeLists.txt", "add_subdirectory(sub)\nwdk_add_driver(d a.c)\n"),
    ("more.cmake", "CMakeLists.txt", "include(more.cmake)\nwdk_add_driver(d a.c)\n"),
    ("CMakeLists.txt", "sources", "TARGETNAME=d\nTARGETTYPE=DRIVER\nSOURCES=a.c\n"),
    ("e.lib", "d.vcxproj", vcxproj("a.c", extra=LINKED)),
    ("x.props", "d.vcxproj", vcxproj("a.c", extra='<Import Project="x.props" />')),
    ("Directory.Build.props", "d.vcxproj", vcxproj("a.c")),
]


@pytest.mark.parametrize(("pipe", "project", "text"), PIPED)
@pytest.mark.parametrize("target", ["", "a.c", "project"])
def test_a_pipe_that_a_project_names_is_never_waited_for(tmp_path, pipe, project, text, target):
    lay(tmp_path, a__c=GOOD)
    (tmp_path / project).write_text(text)
    (tmp_path / pipe).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / pipe)
    found = []
    path = tmp_path / (project if target == "project" else target)
    asked = threading.Thread(target=lambda: found.append(read(path)), daemon=True)
    asked.start()
    asked.join(20)
    assert found, "it waits for the pipe"
    assert value_of(found[0], "ExAllocatePoolWithTag") == ({1}, True)


def test_a_list_that_becomes_a_pipe_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p")
    with pytest.raises(OSError, match="no regular file"):
        contents(tmp_path / "p", 8)
    (tmp_path / "f").write_bytes(b"0123456789")
    assert (contents(tmp_path / "f"), contents(tmp_path / "f", 4)) == (b"0123456789", b"0123")
    for name in ("a\0", "missing"):
        with pytest.raises(OSError):
            contents(tmp_path / name)


def test_a_solution_that_goes_away_is_a_limit(tmp_path, monkeypatch):
    lay(tmp_path, a__c=GOOD, d__vcxproj=vcxproj("a.c"), d__sln="")
    listed = Shelf.project

    def project(self, path):
        listed(self, path)
        if path.endswith(".sln"):
            (tmp_path / "d.sln").unlink(missing_ok=True)

    monkeypatch.setattr(Shelf, "project", project)
    evidence = read(tmp_path)
    assert value_of(evidence, "ExAllocatePoolWithTag") == ({1}, True)
    assert "d.sln: No such file or directory" in limits(evidence)


def test_more_calls_than_are_judged_are_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "MAX_STEPS", 2 * survey.CALL_COST)
    good = "p = ExAllocatePoolWithTag(PagedPool, 8, 'a');"
    lay(tmp_path, a__c=entry(3 * good), b__c=GOOD)
    report = evaluate(tmp_path)
    assert len(report.calls) == 2
    assert report.verdict != "compatible"
    assert sum(survey.SPENT in limit.reason for limit in report.limits) == 1


def test_callers_that_are_asked_spend_the_budget_of_calls(tmp_path, monkeypatch):
    def steps(count):
        spent = "void f0(int t) { ExAllocatePool(t, 0); }\n" + "".join(
            f"void f{n + 1}(int t) {{ f{n}(t); ExAllocatePool(t, 0); }}\n" for n in range(count)
        )
        return f"{spent}void last(void) {{ f{count}(512); }}\n"

    monkeypatch.setattr(survey, "MAX_STEPS", 100)
    lay(tmp_path, a__c=steps(3))
    assert survey.SPENT not in limits(read(tmp_path))
    lay(tmp_path, a__c=steps(20))
    assert limits(read(tmp_path)).count(survey.SPENT) == 1


def test_the_budget_is_each_product_s_own(tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "MAX_STEPS", 1)
    lay(tmp_path, a__c=GOOD, b__c=GOOD, a__vcxproj=vcxproj("a.c"), b__vcxproj=vcxproj("b.c"))
    evidence = read(tmp_path)
    assert len(evidence.calls) == 2
    assert survey.SPENT not in limits(evidence)


def test_conditions_inside_conditions_spend_the_steps_of_their_question(tmp_path, monkeypatch):
    function = """
        static ULONG f{0}(ULONG p) {{
            ULONG v = 0, w = 1;
            if (g{0} == p) v = g{1}; else w = g{2};
            if (v > w) v = 0x200;
            if (g{0} == v) w = v;
            return v;
        }}"""
    ring = [(n, (n + 1) % 3, (n + 2) % 3) for n in range(3)]
    text = "static ULONG g0, g1, g2;" + "".join(function.format(*each) for each in ring)
    calls = "".join(f"g{n} = f{a}(g{b});" for n, a, b in ring)
    lay(tmp_path, a__c=text + entry(f"{calls} ExAllocatePoolWithTag(g0, 8, 'a');"))
    looked_at = []
    value = Resolver.value

    def counted(self, node, *rest):
        looked_at.append(node)
        return value(self, node, *rest)

    monkeypatch.setattr(Resolver, "value", counted)
    read(tmp_path)
    assert 100 < len(looked_at) < resolve.MAX_STEPS + 2 * resolve.MAX_ASIDE

"""Branches of `#if` that nobody decides: each counts, wherever in a statement it stands."""

import pytest

from hvci.source.preprocess.runs import UNTAKEN
from hvci.source.preprocess.ways import MAX_WAYS, left_out, ways
from hvci.source.text.directives import Directives
from hvci.source.text.text import Source
from sources import bad, entry, lay, one_file, read, vcxproj

POOL = "execute-pool-type"
PICK = "\n#ifdef OLD\n{one}\n#else\n{other}\n#endif\n"
KINDS = {
    "bad first": ("NonPagedPool", "NonPagedPoolNx", {POOL}),
    "bad last": ("NonPagedPoolNx", "NonPagedPool", {POOL}),
    "clean": ("NonPagedPoolNx", "PagedPool", set()),
}
WRAPPER = (
    "static PVOID My(POOL_TYPE k, SIZE_T n)\n{ return ExAllocatePoolWithTag(k, n, 'aaaa'); }\n"
)
SHAPES = {
    "argument": ("", "ExAllocatePoolWithTag({pick}, 8, 'aaaa');"),
    "behind the name": (
        "",
        "ExAllocatePoolWithTag\n#ifdef OLD\n({one}, 8, 'a')\n#else\n({other}, 8, 'a')\n#endif\n;",
    ),
    "pragma": ("", "ExAllocatePoolWithTag\n#pragma warning(suppress: 1)\n({one}, 8, 'a');My();"),
    "statement": ("", "POOL_TYPE k;\n{sets}\nExAllocatePoolWithTag(k, 8, 'aaaa');"),
    "initializer": ("", "POOL_TYPE k = {pick}; ExAllocatePoolWithTag(k, 8, 'aaaa');"),
    "global": ("const POOL_TYPE Kind = {pick};\n", "ExAllocatePoolWithTag(Kind, 8, 'aaaa');"),
    "enumerator": ("enum {{ Kind = {pick} }};\n", "ExAllocatePoolWithTag(Kind, 8, 'aaaa');"),
    "result": (
        "static POOL_TYPE Kind(void)\n{{ return {pick}; }}\n",
        "ExAllocatePoolWithTag(Kind(), 8, 'aaaa');",
    ),
    "wrapper": (WRAPPER.replace("{", "{{").replace("}", "}}"), "My({pick}, 8);"),
    "list": (
        "struct K {{ ULONG t; POOL_TYPE k; }};\nstatic const struct K Kind = {{ 1, {pick} }};\n",
        "ExAllocatePoolWithTag(Kind.k, 8, 'aaaa');",
    ),
}


def text_of(shape, one, other):
    before, body = SHAPES[shape]
    values = {"one": one, "other": other, "pick": PICK.format(one=one, other=other)}
    values["sets"] = PICK.format(one=f"k = {one};", other=f"k = {other};")
    return entry(body.format(**values)).replace("NTSTATUS", before.format(**values) + "NTSTATUS", 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "pragma"])
def test_every_branch_counts(tmp_path, shape, kind):
    one, other, expected = KINDS[kind]
    assert bad(one_file(tmp_path, text_of(shape, one, other))) == expected


@pytest.mark.parametrize(("kind", "expected"), [("NonPagedPool", {POOL}), ("PagedPool", set())])
def test_a_pragma_between_a_name_and_its_arguments(tmp_path, kind, expected):
    assert bad(one_file(tmp_path, text_of("pragma", kind, ""))) == expected


def test_a_branch_that_may_be_left_out(tmp_path):
    text = "POOL_TYPE k = %s;\n#ifdef NEW\nk = %s;\n#endif\nExAllocatePoolWithTag(k, 8, 'aaaa');"
    for one, other in (("NonPagedPool", "NonPagedPoolNx"), ("NonPagedPoolNx", "NonPagedPool")):
        assert bad(one_file(tmp_path, entry(text % (one, other)))) == {POOL}
    assert bad(one_file(tmp_path, entry(text % ("PagedPool", "NonPagedPoolNx")))) == set()


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "pragma"])
def test_a_build_decides(tmp_path, shape):
    project = vcxproj("d.c")
    text = text_of(shape, "NonPagedPool", "NonPagedPoolNx")
    assert bad(read(lay(tmp_path, d__vcxproj=project, d__c=text))) == set()
    text = text_of(shape, "NonPagedPoolNx", "NonPagedPool")
    assert bad(read(lay(tmp_path, d__vcxproj=project, d__c=text))) == {POOL}


def test_one_of_two_names_before_the_same_arguments(tmp_path):
    text = "PVOID p =\n#ifdef A\nExAllocatePool2\n#else\nExAllocatePoolZero\n#endif\n(%s, 8, 'a');"
    evidence = one_file(tmp_path, entry(text % "NonPagedPoolNx"))
    assert {call.ddi for call in evidence.calls} == {"ExAllocatePool2", "ExAllocatePoolZero"}
    assert not any("handed on" in one.reason for one in evidence.limits)
    assert POOL in bad(one_file(tmp_path, entry(text % "NonPagedPool")))


@pytest.mark.parametrize(("got", "expected"), [("Other()", set()), ("ALLOCATED", {"dynamic-code"})])
def test_memory_that_one_branch_gets(tmp_path, got, expected):
    got = got.replace("ALLOCATED", "ExAllocatePool2(POOL_FLAG_NON_PAGED, 8, 'aaaa')")
    text = "PVOID p;\n#ifdef OLD\np = Other();\n#else\np = %s;\n#endif\n((VOID (*)(VOID))p)();"
    assert bad(one_file(tmp_path, entry(text % got))) == expected


# ---- the ways through a text


def test_what_is_decided_has_one_way():
    text = "#if A\n#else\n#endif\n"
    lines = Directives(Source("a.c", text.encode()))
    assert ways((1,), lines) == [(1,)]
    assert ways((None,), lines) == [(None,)]


def test_branches_side_by_side_go_together():
    text = "#if A\n#else\n#endif\n" * 3
    assert ways(((0, 1),) * 3, Directives(Source("a.c", text.encode()))) == [
        ((0, 1),) * 3,
        ((1, 0),) * 3,
    ]


def test_every_branch_inside_others_comes_first_once():
    text = "#if A\n#if B\n#elif C\n#endif\n#else\n#if D\n#endif\n#endif\n"
    lines = Directives(Source("a.c", text.encode()))
    found = ways(((0, 1), (0, 1, UNTAKEN), (0, UNTAKEN)), lines)
    inner = {way[1][0] for way in found if way[0][0] == 0}
    assert inner == {0, 1, UNTAKEN}
    assert {way[2][0] for way in found if way[0][0] == 1} == {0, UNTAKEN}


def test_a_branch_that_no_build_keeps_asks_for_no_way():
    text = "#if A\n#if B\n#endif\n#else\n#endif\n"
    lines = Directives(Source("a.c", text.encode()))
    assert ways((1, (0, UNTAKEN)), lines) == [(1, (0, UNTAKEN))]


def test_ways_are_bounded():
    text = "#if A\n" + "#elif A\n" * 60 + "#endif\n"
    lines = Directives(Source("a.c", text.encode()))
    found = ways((tuple(range(61)),), lines)
    assert len(found) == MAX_WAYS
    assert left_out((tuple(range(61)),), found, lines)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("#if A\n#else\n#endif\n" * 3, ((0, 1),) * 3),
        ("#if A\n#if B\n#endif\n#else\n#endif\n", (1, (0, UNTAKEN))),
        ("#if A\n#if B\n#elif C\n#endif\n#else\n#endif\n", ((0, 1), (0, 1, UNTAKEN))),
    ],
)
def test_ways_that_leave_nothing_out(text, choice):
    lines = Directives(Source("a.c", text.encode()))
    assert not left_out(choice, ways(choice, lines), lines)


@pytest.mark.parametrize("count", [MAX_WAYS - 1, MAX_WAYS + 4])
def test_more_branches_than_ways_are_a_limit(tmp_path, count):
    parts = (f"#elif defined(C{n})\nk = NonPagedPoolNx;\n" for n in range(count - 2))
    choice = f"#if defined(A)\nk = 512;\n{''.join(parts)}#else\nk = NonPagedPool;\n#endif\n"
    text = entry(f"POOL_TYPE k;\n{choice} ExAllocatePoolWithTag(k, 8, 'aaaa');")
    lay(tmp_path, a__c=text)
    evidence = read(tmp_path)
    is_told = any("branches of #if" in one.reason for one in evidence.limits)
    assert is_told is (count > MAX_WAYS)
    assert (POOL in bad(evidence)) is (count <= MAX_WAYS)

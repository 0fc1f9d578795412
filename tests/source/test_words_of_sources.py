"""The words and lines of texts, found in quick ways, against what a plain pattern says."""

import re

from hypothesis import assume, example, given
from hypothesis import strategies as st

from hvci.source.pointers.places import _DEFINED, _KEYWORDS, _THROUGH, Words
from hvci.source.preprocess.tree import File
from hvci.source.program.calls import split
from hvci.source.text import text as text_module
from hvci.source.text.chunks import may_define
from hvci.source.text.text import Source, directive_lines, words
from hvci.source.text.wordindex import WordIndex

CODE = st.lists(
    st.sampled_from(
        [*"#;{}()\n \t\\=,&*", "\r\n", "if", "f", "g_1", "#define", "//", "(PVOID)", "0x1"]
    )
).map("".join)
LINE = re.compile(rb"^[ \t]*#[^\n\\]*(?:\\(?:\r?\n)?[^\n\\]*)*", re.MULTILINE)
AS_BYTES = re.compile(rb"\b([A-Za-z_]\w*)\s*=\s*(?:\(PVOID\)\s*)+&?\s*([A-Za-z_]\w*)\s*[;,]")


def index(**texts):
    sources = {path: Source(path, text.encode()) for path, text in texts.items()}
    return sources, WordIndex(sources)


@given(CODE)
def test_lines_of_a_preprocessor_are_those_that_a_pattern_finds(text):
    data = text.encode()
    assert [*directive_lines(data, (b"#",))] == [one.span() for one in LINE.finditer(data)]


@given(CODE)
def test_names_before_bodies_are_those_that_a_pattern_finds(text):
    sources, held = index(a=text)
    found = Words(sources["a"], held)
    assert found.defined == frozenset(_DEFINED.findall(found.code)) - _KEYWORDS


@given(CODE)
def test_names_that_point_at_others_as_bytes_are_those_that_a_pattern_finds(text):
    sources, held = index(a=text)
    found = Words(sources["a"], held)
    assert [*found.as_bytes] == AS_BYTES.findall(found.code)


CALLS = st.lists(
    st.sampled_from(["f", "(", ")", "()", "{}", "{", "}", ";", "int ", "*p", " ", "#if 1\n", ","])
).map("".join)


@given(CALLS)
@example("(*p)()(")  # what a call returns is called
def test_calls_through_expressions_are_those_that_the_patterns_find(text):
    sources, held = index(a=text)
    found = Words(sources["a"], held)
    code, through = found.code, {*found.through}
    wanted = {match.end() - 1 for one in _THROUGH for match in one.finditer(code)}
    assert wanted <= through
    # beside such a call or a cast, whatever is called behind parentheses counts
    assert all(code[:at].rstrip().endswith(b")") for at in through - wanted)
    assert wanted or b"_cast<" in code or not through


@given(CALLS)
def test_no_function_stands_where_none_may_be_defined(text):
    assume(all(text[: at + 1].count(")") <= text[:at].count("(") for at in range(len(text))))
    data = text.encode()
    source = Source("a.c", data)
    named = [match.end() for match in re.finditer(rb"\bf(?=\s*\()", data)]
    for end in named:
        function = File(source, data).function_at(end - 1)
        if function is not None and function.name == b"f":
            inside = range(function.node.start_byte, function.node.end_byte)
            assert any(may_define(data, one) for one in named if one in inside)


def test_a_function_is_told_from_its_calls_and_declarations():
    for text in ("f(int a) {", "f(g(h(1)))\n{", "f() const {", "f() : a(1) {", "f(a) int a; {"):
        assert may_define(text.encode(), 1), text
    for text in ("f(int a);", "f(g(1), 2) ;", "f() == 1", "f() - 1", "f())", "f(), 1"):
        assert not may_define(text.encode(), 1), text
    assert may_define(b"f(\n#if 1\nint a)\n#else\nint b);\n#endif\n", 1)


def test_arguments_are_split_at_their_own_commas():
    assert [one.text for one in split(b"f(a, g(b, c[1, 2]), {3, 4})", 1)] == [
        b"a",
        b"g(b, c[1, 2])",
        b"{3, 4}",
    ]
    assert not split(b"f()", 1)
    assert [one.text for one in split(b"f(a, b", 1)] == [b"a"]


def test_places_are_told_in_any_order():
    source = Source("a", b"ab\ncd\n\xc3\xa4e")
    places = {0: (1, 1), 1: (1, 2), 3: (2, 1), 4: (2, 2), 8: (3, 2)}
    for offset in (0, 4, 8, 3, 1, 8, 0):
        assert source.position(offset) == places[offset]
    source.forget()
    assert source.position(4) == (2, 2)


def test_words_are_whole():
    assert words(b"a.b_c(d9, 0x1F)\x80e") == {b"a", b"b_c", b"d9", b"0x1F", b"e"}


def test_the_index_knows_words_and_their_parts():
    _, held = index(a="ExAllocatePool(x)", b="ExAllocatePoolWithTag(x)")
    assert [*held.holding(b"ExAllocatePool", "ab")] == ["a"]
    assert [*held.holding(b"x", "ba")] == ["b", "a"]
    assert [*held.holding(b"x", "a")] == ["a"]
    assert not [*held.holding(b"y", "ab")]
    assert [*held.holding_part(b"AllocatePool", "ab")] == ["a", "b"]
    assert held.among("b", frozenset((b"ExAllocatePool", b"x"))) == {b"x"}


def test_a_file_that_is_read_later_is_known_as_well():
    sources, held = index(a="x MajorVersion")
    wanted = frozenset((b"x", b"z"))
    assert [*held.holding_part(b"Version", "ab")] == ["a"]
    assert held.among("b", wanted) == frozenset()
    sources["b"] = Source("b", b"x z dwVersion")
    assert [*held.holding(b"x", "ab")] == ["a", "b"]
    assert [*held.holding_part(b"Version", "ab")] == ["a", "b"]
    assert held.among("b", wanted) == wanted
    held.forget("ab")
    assert held.among("b", wanted) == wanted


@given(CODE, st.sampled_from([b"f", b"g_1", b"if", b"0x1", b"", b"f;", b"no"]))
def test_a_text_asked_often_says_the_same_of_a_name(text, name):
    asked = Source("a", text.encode())
    asked._asked[0] = text_module.MANY
    long, text_module.LONG = text_module.LONG, 0
    try:
        assert [*asked.places(name)] == [*Source("a", text.encode()).places(name)]
    finally:
        text_module.LONG = long


def test_a_long_text_is_gone_through_once_for_all_names(monkeypatch):
    searched = []
    monkeypatch.setattr(text_module, "places", lambda code, name: searched.append(name) or ())
    source = Source("a", b"".join(b"void f%d(void);\n" % n for n in range(5000)))
    found = [len(source.places(b"f%d" % n)) for n in range(1000)]
    assert len(searched) == text_module.MANY - 1
    assert found[text_module.MANY :] == [1] * (1000 - text_module.MANY)

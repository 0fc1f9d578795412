"""The words and lines of texts, found in quick ways, against what a plain pattern says."""

import re

from hypothesis import given
from hypothesis import strategies as st

from hvci.source.pointers import _DEFINED, _KEYWORDS, Words
from hvci.source.text import Source, directive_lines, words
from hvci.source.wordindex import WordIndex

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


def test_words_are_whole():
    assert words(b"a.b_c(d9, 0x1F)\x80e") == {b"a", b"b_c", b"d9", b"0x1F", b"e"}


def test_the_index_knows_words_and_their_parts():
    _, held = index(a="ExAllocatePool(x)", b="ExAllocatePoolWithTag(x)")
    assert {*held.holding(b"ExAllocatePool")} == {"a"}
    assert {*held.holding(b"x")} == {"a", "b"}
    assert not {*held.holding(b"y")}
    assert {*held.holding_part(b"AllocatePool")} == {"a", "b"}
    assert held.among("b", frozenset((b"ExAllocatePool", b"x"))) == {b"x"}


def test_a_file_that_is_read_later_is_known_as_well():
    sources, held = index(a="x MajorVersion")
    wanted = frozenset((b"x", b"z"))
    assert {*held.holding_part(b"Version")} == {"a"}
    assert held.among("a", wanted) == {b"x"}
    sources["b"] = Source("b", b"x z dwVersion")
    assert {*held.holding(b"x")} == {"a", "b"}
    assert {*held.holding_part(b"Version")} == {"a", "b"}
    assert held.among("b", wanted) == wanted

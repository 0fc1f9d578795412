"""Pieces of a text that are parsed on their own: the same trees as in the whole."""

import pytest

from hvci.source.preprocess.tree import File, parse, text_of, walk
from hvci.source.text.chunks import starts
from hvci.source.text.text import Source, places
from sources import entry, one_file

PIECES = [
    "typedef struct { int a; } A, *PA;\n",
    "int F(int a) { if (a) { return 1; } return 0; }\n",
    "int x = 1; int G() { return 2; };\n",
    'extern "C" {\nint H(void) { return 3; }\n}\n',
    "namespace n { namespace m {\nint I() { return 4; }\n} }\n",
    "class C { int a; public: int J() { return 5; } };\n",
    "template <int N> int K() { return N; }\n",
    'char *s = "{"; // }\n',
    "enum { one, two };\n",
    "static const struct { int a; } Table[2] = { { L() }, { 2 } };\n",
    "enum { three } Value = three;\nint M() { return 6; }\n",
    "struct S first = { 1 }, *second = &first;\nint N() { return 7; }\n",
]


def pieces(text):
    source = Source("a.cpp", text.encode())
    return starts(source.plain, source.code)


def test_every_declaration_begins_a_piece():
    text = "".join(PIECES)
    begins = pieces(text)
    for name in ("F(int", "G()", "H(void)", "I()", "class C", "template", "enum"):
        at = text.index(name)
        begin = max(one for one in begins if one <= at)
        assert "return" not in text[begin:at]


@pytest.mark.parametrize("text", ["int f() { ", "} int f() { }", "int f() { } }"])
def test_braces_that_do_not_match_leave_one_piece(text):
    assert pieces(text) == [0]


def test_a_piece_has_the_tree_that_the_whole_has():
    source = Source("a.cpp", "".join(PIECES).encode())
    file = File(source, source.plain)
    whole = parse(source.plain)
    wanted = ("function_definition", "return_statement", "class_specifier", "call_expression")
    for node in walk(whole.root_node):
        if node.type not in wanted:
            continue
        same = file.node_at(node.start_byte, node.end_byte)
        while same is not None and same.type != node.type:
            same = same.parent
        assert same is not None
        assert (same.start_byte, same.end_byte) == (node.start_byte, node.end_byte)
        assert text_of(same) == text_of(node)


def test_functions_are_found_in_their_piece():
    text = "".join(PIECES)
    source = Source("a.cpp", text.encode())
    file = File(source, source.plain)
    for name in "FGHIJK":
        at = text.index("return", text.index(f"{name}("))
        assert file.function_at(at).name == name.encode()
    assert file.function_at(text.index("enum")) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [(b"a ab a", [0, 5]), (b"ba a_ a", [6]), (b"", []), (b"a(a)", [0, 2]), (b"aa a1", [])],
)
def test_whole_words(text, found):
    assert list(places(text, b"a")) == found


def test_a_name_without_a_letter_stands_nowhere():
    """A damaged text once asked for one, and the search never came to an end."""
    assert list(places(b"a b", b"")) == []
    assert list(places(b"a ab a", b"a")) == [0, 5]


def test_values_behind_a_type_without_a_name_are_in_its_piece(tmp_path):
    text = "#include <ntddk.h>\ntypedef PVOID (*A)(POOL_TYPE, SIZE_T, ULONG);\n"
    text += "static const struct { A Get; } Of = { ExAllocatePoolWithTag }, Two = { 0 };\n"
    evidence = one_file(tmp_path, text + entry("Of.Get(NonPagedPool, 8, 'a');"))
    assert any("is handed on as a value" in one.reason for one in evidence.limits)

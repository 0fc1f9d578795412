"""Names, numbers, operators and directives that a backslash at the end of a line splits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvci.evaluate import Options
from hvci.fix import fix
from hvci.source.text.text import joined
from sources import bad, entry, one_file, read, values

SPLIT = [
    ("ExAllocate\\{}PoolWithTag(NonPagedPool, 8, 'a');", 0),
    ("ExAllocatePoolWithTag(Non\\{}Paged\\{}Pool, 8, 'a');", 0),
    ("ExAllocatePoolWithTag(0x\\{}0, 8, 'a');", 0),
    ("ExAllocatePool2(0x4\\{}0 |\\{} 0x\\{}80, 8, 'a');", 0xC0),
]
ENDS = ["\n", "\r\n", "\n\\\n"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("text", "value"), SPLIT)
def test_a_split_token_is_one(tmp_path, text, value, end):
    evidence = one_file(tmp_path, entry("PVOID p = " + text.replace("{}", end)))
    ((line, _, found, complete),) = values(evidence)
    assert (line, found, complete) == (5, {value}, True)
    assert evidence.calls[0].site.column == 15


def test_what_stands_behind_a_split_token_has_its_place_in_the_file(tmp_path):
    body = "Non\\\nsense(0); ExAllocatePoolWithTag(NonPagedPool, 8, 'a');"
    (call,) = one_file(tmp_path, entry(body)).calls
    assert (call.site.line, call.site.column) == (6, 11)


def test_a_name_and_its_parentheses_on_continued_lines(tmp_path):
    text = entry("ExAllocatePoolWithTag \\\n  \\\n (NonPagedPool, 8, 'a');")
    assert values(one_file(tmp_path, text)) == [(5, "ExAllocatePoolWithTag", {0}, True)]


DIRECTIVES = [
    "#define \\{} POOL \\{} NonPagedPool\n",
    "#define P(a, \\{} b) \\{} b\n#define POOL P(1, NonPagedPool)\n",
    "#def\\{}ine POOL NonPagedPool\n",
    "#\\{}define POOL NonPagedPool\n",
    "#\\{} define PO\\{}OL NonPagedPool\n",
    "#define OTHER \\{}\n#define POOL NonPagedPool\n",
    "#if\\{}def NEVER\n#define POOL NonPagedPoolNx\n#el\\{}se\n#define POOL NonPagedPool\n#endif\n",
    "#if 1\\{}0 == 10\n#define POOL NonPagedPool\n#else\n#define POOL NonPagedPoolNx\n#endif\n",
    "#if 1 &\\{}& !defi\\{}ned(NO)\n#define POOL NonPagedPool\n#else\n#define POOL 5\n#endif\n",
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("text", DIRECTIVES)
def test_a_split_directive_is_one(tmp_path, text, end):
    driver = (
        "#undef NEVER\n#undef NO\n"
        + text.replace("{}", end)
        + entry("ExAllocatePoolWithTag(POOL, 8, 'a');")
    )
    ((_, _, found, complete),) = values(one_file(tmp_path, driver))
    assert (found, complete) == ({0}, True)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("open_", ["/\\{}/ a \\{} b ", "/\\{}* ", "/* *\\{}/ // "])
def test_a_split_sign_of_a_comment_is_one(tmp_path, open_, end):
    body = f"{open_.replace('{}', end)} ExAllocatePoolWithTag(NonPagedPool, 8, 'a'); /* */\n"
    assert one_file(tmp_path, entry(body)).calls == ()


EDITED = [
    "ExAllocatePoolWithTag(NonPaged\\\nPool, 8, 'a')",
    "MmGetSystemAddressForMdlSafe(Mdl, Normal\\\nPagePriority)",
    "ExInitializeNPagedLookasideList(a, 0, 0, 0\\\nx0, 8, 'a', 0)",
]


@pytest.mark.parametrize("call", EDITED)
def test_nothing_is_written_into_a_split_token(tmp_path, call):
    path = tmp_path / "driver.c"
    path.write_text(entry(call + ";"))
    assert bad(read(path))
    assert not fix(str(path), Options()).files


TEXT = st.lists(st.sampled_from(["\\\n", "\\\r\n", "\n", " ", "ab", "0", "#", "/", "*", "'"])).map(
    "".join
)


@given(TEXT)
def test_joining_moves_line_breaks_only(text):
    data = text.encode()
    found, moved = joined(data)
    assert len(found) == len(data)
    bare = [one.replace(b"\\\r\n", b"").replace(b"\\\n", b"") for one in (data, found)]
    assert bare[0] == bare[1]
    for at in range(len(data)):
        if not any(start <= at < end for start, end in moved):
            assert found[at] == data[at]

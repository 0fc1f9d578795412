"""Elements of arrays change through the name of the array as well, which is a pointer."""

import pytest

from sources import bad, entry, one_file

NX, PLAIN = "NonPagedPoolNx", "NonPagedPool"
TABLE = "static POOL_TYPE t[2] = {NonPagedPoolNx, NonPagedPoolNx};\n"
USE = " ExAllocatePoolWithTag(t[%d], 8, 'x');"
CONFIG = "typedef struct { POOL_TYPE t[2]; } CONFIG; static CONFIG r = {{K, K}};\n".replace("K", NX)
FIELD = " ExAllocatePoolWithTag(r.t[1], 8, 'x');"

STORED = [  # what stands outside, what the entry point does: @ is what is stored
    ("", "POOL_TYPE *q = t; *q++ = @;" + USE % 0),
    ("", "POOL_TYPE *q = t; *q++ = NonPagedPoolNx; *q++ = @;" + USE % 1),
    ("", "POOL_TYPE *q; q = t; q[1] = @;" + USE % 1),
    ("", "POOL_TYPE *q = &t[1]; (*q) = @;" + USE % 1),
    ("", "*(t + 1) = @;" + USE % 1),
    ("VOID fill(POOL_TYPE *p) { p[0] = @; }", "fill(t);" + USE % 0),
    ("VOID fill(POOL_TYPE *p) { while (p < end) *p++ = @; }", "fill((POOL_TYPE *)t);" + USE % 0),
    ("VOID fill(POOL_TYPE *p) { *p = @; }", "fill(&t[1]);" + USE % 1),
    (
        "VOID one(POOL_TYPE *p) { *p = @; } VOID fill(POOL_TYPE *q) { one(q); }",
        "fill(t);" + USE % 0,
    ),
    (CONFIG, "POOL_TYPE *q = r.t; q[1] = @;" + FIELD),
]


@pytest.mark.parametrize(("outside", "body"), STORED)
def test_a_store_through_a_pointer_counts(tmp_path, outside, body):
    texts = [(TABLE + outside + entry(body)).replace("@", value) for value in (PLAIN, NX)]
    assert "execute-pool-type" in bad(one_file(tmp_path, texts[0]))
    assert bad(one_file(tmp_path, texts[1])) == set()


OPEN = [
    "RtlZeroMemory(t, sizeof t);" + USE % 1,
    "memset(t, 0, sizeof t);" + USE % 1,
    "RtlCopyMemory(t, SystemBuffer, sizeof t);" + USE % 1,
    "ReadConfiguration(t);" + USE % 1,
    "ZwReadFile(file, NULL, NULL, NULL, &io, t, sizeof t, NULL, NULL);" + USE % 1,
    "keep.pointer = t;" + USE % 1,
    "POOL_TYPE *q = t; *q |= flags;" + USE % 0,
    "POOL_TYPE *q = t; (*q)++;" + USE % 0,
    "struct LIST list = {t, 2};" + USE % 0,
    "CLEAR(t);" + USE % 0,
    "give()[0] = 0;" + USE % 0,
    "a(t);" + USE % 0,
]
HANDED = "".join(
    f"VOID {one}(POOL_TYPE *p) {{ {one}{one[0]}(p); }}\n" for one in ("a", "aa", "aaa")
)
GIVING = "POOL_TYPE *give(VOID) { return t; }\n#define CLEAR(x) RtlZeroMemory((x), sizeof(x))\n"
GIVING += HANDED + "VOID aaaa(POOL_TYPE *p) { aaaaa(p); }\nVOID aaaaa(POOL_TYPE *p) { }\n"
SILENT = [
    "for (int i = 0; i < ARRAYSIZE(t); i++) ExAllocatePoolWithTag(t[i], 8, 'x');",
    "for (int i = 0; i < COUNT(t); i++) ExAllocatePoolWithTag(t[i], 8, 'x');",
    "RtlCopyMemory(SystemBuffer, t, sizeof t);" + USE % 1,
    "DbgPrint(text, t);" + USE % 1,
    "show(t); show(&t[0]);" + USE % 1,
    "if (t != NULL) show(t);" + USE % 1,
    "POOL_TYPE *q = t; kind = *q; kind = q[1]; q = q + 1;" + USE % 1,
    "{ POOL_TYPE t[1]; memset(t, 0, sizeof t); }" + USE % 1,
    "again(t);" + USE % 1,
]
SHOWING = "VOID show(POOL_TYPE *p) { for (int i = 0; i < 2; i++) if (p[i]) f(*p); }\n"
SHOWING += "#define COUNT(a) (sizeof(a) / sizeof((a)[0]))\nVOID again(POOL_TYPE *p) { again(p); }\n"


@pytest.mark.parametrize("body", OPEN)
def test_what_is_not_known_leaves_it_open(tmp_path, body):
    assert bad(one_file(tmp_path, TABLE + GIVING + entry(body))) == {"execute-pool-type"}


@pytest.mark.parametrize("body", SILENT)
def test_reading_and_counting_change_nothing(tmp_path, body):
    assert bad(one_file(tmp_path, TABLE + SHOWING + entry(body))) == set()


@pytest.mark.parametrize("place", ["static ", "local "])
def test_elements_that_are_set_behind_zeros(tmp_path, place):
    body = "RtlZeroMemory(t, sizeof t); t[0] = NonPagedPoolNx; t[1] = NonPagedPoolNx;" + USE % 1
    text = entry("POOL_TYPE t[2]; " + body)
    if place == "static ":
        text = "static POOL_TYPE t[2];\n" + entry(body)
    assert bad(one_file(tmp_path, text)) == set()


WHOLE = [
    "RtlZeroMemory(&r, sizeof r);",
    "RtlCopyMemory(&r, SystemBuffer, sizeof r);",
    "RtlCopyMemory(r.t, SystemBuffer, sizeof r.t);",
]


@pytest.mark.parametrize("body", WHOLE)
def test_an_array_in_a_record_that_is_written_as_a_whole(tmp_path, body):
    assert "execute-pool-type" in bad(one_file(tmp_path, CONFIG + entry(body + FIELD)))
    copied = "RtlCopyMemory(SystemBuffer, &r, sizeof r); r.t[1] = NonPagedPoolNx;"
    assert bad(one_file(tmp_path, CONFIG + entry(copied + FIELD))) == set()


def test_a_constant_array_is_not_looked_for(tmp_path):
    text = TABLE.replace("static", "static const") + entry("Read((PVOID)t);" + USE % 1)
    assert bad(one_file(tmp_path, text)) == set()

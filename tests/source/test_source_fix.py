"""Edits: what is written, that the rest stays, and that a second evaluation agrees."""

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvci.cli import main
from hvci.errors import InputError
from hvci.evaluate import Options
from hvci.fix import LEVELS, fix
from hvci.model import Edit, Level, parse_version
from hvci.source.text.apply import changed, chosen, diff, write_text
from hvci.source.text.text import decode
from sources import bad, entry, lay, read, vcxproj

SAFE, REVIEW, SUGGEST = Level.SAFE, Level.REVIEW, Level.SUGGEST


def fixed(tmp_path, text, level=SAFE, name="a.c"):
    """The text after fixing, as the file would hold it."""
    path = tmp_path / name
    path.write_bytes(text.encode())
    outcomes = fix(str(tmp_path), Options(), level)
    return outcomes.files[0].after.decode() if outcomes.files else text


STATEMENTS = [
    ("p = ExAllocatePoolWithTag({}, n, 'a');", "NonPagedPool", "NonPagedPoolNx", SAFE),
    ("p = ExAllocatePoolWithTag(\n  {} , n, 'a');", "NonPagedPool", "NonPagedPoolNx", SAFE),
    ("p = ExAllocatePool({}, n);", "NonPagedPoolExecute", "NonPagedPoolNx", SAFE),
    (
        "p = ExAllocatePoolWithTag({} | POOL_ZERO_ALLOCATION, n, 'a');",
        "NonPagedPoolCacheAligned",
        "NonPagedPoolNxCacheAligned",
        SAFE,
    ),
    (
        "p = ExAllocatePoolWithTag(x ? {} : PagedPool, n, 'a');",
        "NonPagedPool",
        "NonPagedPoolNx",
        SAFE,
    ),
    (
        "p = MmGetSystemAddressForMdlSafe(m, {});",
        "NormalPagePriority",
        "NormalPagePriority | MdlMappingNoExecute",
        SAFE,
    ),
    (
        "p = MmGetSystemAddressForMdlSafe(m, {});",
        "x ? LowPagePriority : HighPagePriority",
        "(x ? LowPagePriority : HighPagePriority) | MdlMappingNoExecute",
        SAFE,
    ),
    (
        "ExInitializeNPagedLookasideList(&l, NULL, NULL, {}, n, 'a', 0);",
        "0",
        "POOL_NX_ALLOCATION",
        SAFE,
    ),
    (
        "ExInitializeNPagedLookasideList(&l, NULL, NULL, {}, n, 'a', 0);",
        "POOL_RAISE_IF_ALLOCATION_FAILURE",
        "POOL_RAISE_IF_ALLOCATION_FAILURE | POOL_NX_ALLOCATION",
        SAFE,
    ),
    (
        "p = {};",
        "MmMapIoSpace(a, n, MmNonCached)",
        "MmMapIoSpaceEx(a, n, PAGE_READWRITE | PAGE_NOCACHE)",
        REVIEW,
    ),
    ("p = {};", "MmMapIoSpace(a, n, MmCached)", "MmMapIoSpaceEx(a, n, PAGE_READWRITE)", REVIEW),
    (
        "s = ZwAllocateVirtualMemory(h, &b, 0, &n, MEM_COMMIT, {});",
        "PAGE_EXECUTE_READWRITE",
        "PAGE_READWRITE",
        SUGGEST,
    ),
]


@pytest.mark.parametrize(("statement", "before", "after", "level"), STATEMENTS)
def test_statements(tmp_path, statement, before, after, level):
    text = entry(statement.format(before))
    assert fixed(tmp_path, text, level) == entry(statement.format(after))
    if level is not SAFE:
        assert fixed(tmp_path, text, Level.SAFE) == text


UNFIXED = [
    "p = ExAllocatePoolWithTag(NonPagedPoolNx, n, 'a');",
    "p = ExAllocatePoolWithTag(0, n, 'a');",
    "p = MmMapLockedPagesSpecifyCache(m, UserMode, MmCached, 0, 0, NormalPagePriority);",
    "p = MmMapIoSpace(a, n, Kind);",
    "p = MmAllocateContiguousMemory(n, high);",
    "// hvci: allow(execute-pool-type) needed\n p = ExAllocatePoolWithTag(NonPagedPool, n, 'a');",
    "p = RtlIsNtDdiVersionAvailable(NTDDI_WIN8) ? 0 : ExAllocatePool(NonPagedPool, n);",
]


@pytest.mark.parametrize("statement", UNFIXED)
def test_what_is_left_alone(tmp_path, statement):
    text = entry(statement)
    assert fixed(tmp_path, text, SUGGEST) == text


FN = "typedef NTSTATUS (*FN)(PVOID);\nNTSTATUS Known(PVOID p) { return 0; }\n"
RUNS = [
    "p = ExAllocatePoolWithTag(NonPagedPool, n, 'a'); ((FN)p)(p);",
    "p = ExAllocatePoolWithTag(NonPagedPool, n, 'a'); ((FN)(p + 0x40))(p);",
    "p = ExAllocatePool(NonPagedPool, n); RtlCopyMemory(p, (PVOID)Known, n);",
    "WdfMemoryCreate(0, NonPagedPool, 'a', n, &m, &p); ((FN)p)(p);",
    "p = MmMapLockedPagesSpecifyCache(m, KernelMode, 1, 0, 0, NormalPagePriority); ((FN)p)(0);",
    "p = MmMapIoSpace(a, n, MmCached); ((FN)p)(0);",
]


@pytest.mark.parametrize("statement", RUNS)
@pytest.mark.parametrize("level", LEVELS)
def test_memory_in_which_code_runs_is_never_edited(tmp_path, statement, level):
    text = FN + entry("PUCHAR p; " + statement)
    assert fixed(tmp_path, text, level) == text
    outcomes = fix(str(tmp_path), Options(), level)
    for left in outcomes.remaining:
        assert "code runs in this memory: line " in left.what
        assert "keep the code in the driver image" in left.how
    assert len(outcomes.remaining) == outcomes.left


def test_other_memory_of_the_same_driver_is(tmp_path):
    text = FN + entry(RUNS[0].replace("p", "q") + " p = ExAllocatePool(NonPagedPool, 8);")
    text = text.replace("ExAllocateqool", "ExAllocatePool")
    assert fixed(tmp_path, text).count("NonPagedPoolNx") == 1


OLD = [
    "p = ExAllocatePoolWithTag(NonPagedPool, n, 'a');",
    "p = MmGetSystemAddressForMdlSafe(m, NormalPagePriority);",
    "ExInitializeNPagedLookasideList(&l, NULL, NULL, 0, n, 'a', 0);",
    "p = MmMapIoSpace(a, n, MmNonCached);",
]


@pytest.mark.parametrize("statement", OLD)
@pytest.mark.parametrize("target", ["xp", "7"])
def test_nothing_is_written_that_the_target_lacks(tmp_path, statement, target):
    lay(tmp_path, a__c=entry(statement))
    version = parse_version(target)
    outcomes = fix(str(tmp_path), Options(target_os=version), SUGGEST)
    assert outcomes.files == ()
    for left in outcomes.remaining:
        assert left.how.startswith("Opt in with POOL_NX_OPTIN and ExInitializeDriverRuntime")


@pytest.mark.parametrize(("target", "count"), [("8", 3), ("8.1", 3), ("10-1507", 4)])
def test_what_the_target_has_is_written(tmp_path, target, count):
    lay(tmp_path, a__c=entry("\n".join(OLD)))
    version = parse_version(target)
    outcomes = fix(str(tmp_path), Options(target_os=version), SUGGEST)
    assert outcomes.fixed == count


def test_what_is_left_names_the_level_that_edits_it(tmp_path):
    text = "#define KIND NonPagedPool\n" + entry("p = ExAllocatePool(KIND, 1);")
    lay(tmp_path, a__c=text)
    said = CliRunner().invoke(main, ["fix", str(tmp_path)]).stderr
    assert "a.c(6): left: ExAllocatePool: PoolType is NonPagedPool" in said
    assert "--level review edits it" in said


def test_a_report_names_the_command_that_edits(tmp_path):
    lay(tmp_path, a__c=entry(OLD[0] + "\n" + OLD[3]))
    said = CliRunner().invoke(main, ["check", str(tmp_path)]).stdout
    said = " ".join(said.split())
    assert f"Fix: hvci fix {tmp_path} --level review edits 2 findings (1 safe, 1 review)" in said
    said = CliRunner().invoke(main, ["check", str(tmp_path), "--target-os", "7"]).stdout
    assert "hvci fix" not in said


def test_constants_elsewhere_are_for_review(tmp_path):
    text = "#define KIND NonPagedPool\n" + entry("p = ExAllocatePool(KIND, 1);")
    assert fixed(tmp_path, text) == text
    assert "#define KIND NonPagedPoolNx\n" in fixed(tmp_path, text, REVIEW)


def test_constants_given_by_callers(tmp_path):
    wrapper = "PVOID Take(POOL_TYPE k) { return ExAllocatePool(k, 1); }\n"
    lay(tmp_path, a__c=wrapper, b__c=entry("Take(NonPagedPool);"), p__vcxproj=vcxproj("a.c", "b.c"))
    outcomes = fix(str(tmp_path), Options(), REVIEW)
    (file,) = outcomes.files
    assert file.path.endswith("b.c")
    assert b"Take(NonPagedPoolNx);" in file.after
    assert (outcomes.fixed, outcomes.left) == (1, 0)


def test_both_sides_of_a_guarded_fallback_stay(tmp_path):
    text = (
        'VOID f(VOID) { RtlInitUnicodeString(&n, L"MmMapIoSpaceEx");\n'
        " MapEx = (FN)MmGetSystemRoutineAddress(&n);\n"
        " p = MapEx ? MapEx(a, 1, PAGE_READWRITE) : MmMapIoSpace(a, 1, MmNonCached); }\n"
    )
    assert fixed(tmp_path, text, SUGGEST) == text


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1251", "cp932"])
@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_bytes_around_an_edit_stay(tmp_path, codec, line):
    comment = "// 表示 ソ" if codec == "cp932" else "// Проверка"
    text = line.join(("#include <ntddk.h>", comment, entry("p = ExAllocatePool(NonPagedPool, 1);")))
    before = text.encode(codec)
    path = tmp_path / "a.c"
    path.write_bytes(before)
    arguments = ["fix", str(tmp_path), "--apply"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    after = text.replace("(NonPagedPool,", "(NonPagedPoolNx,").encode(codec)
    assert path.read_bytes() == after
    assert not bad(read(tmp_path))


def test_a_dry_run_writes_nothing_and_shows_a_diff(tmp_path):
    text = entry("p = ExAllocatePool(NonPagedPool, 1);")
    path = tmp_path / "a.c"
    path.write_text(text)
    result = CliRunner().invoke(main, ["fix", str(path)])
    assert path.read_text() == text
    assert "-    p = ExAllocatePool(NonPagedPool, 1);" in result.stdout
    assert "+    p = ExAllocatePool(NonPagedPoolNx, 1);" in result.stdout
    assert "1 edit in 1 file shown; 1 finding would be fixed, 0 left" in result.stderr


def test_an_edit_that_brings_a_new_finding_is_withdrawn(tmp_path):
    # the same macro is a cache type elsewhere: what repairs one call must not break the other
    text = "#define KIND NonPagedPool\n" + entry(
        "p = ExAllocatePool(KIND, 1);\n    p = ExAllocatePool(Unknown(KIND), 1);"
    )
    outcomes = fix(str(lay(tmp_path, a__c=text)), Options(), REVIEW)
    assert (outcomes.fixed, outcomes.left) == (1, 1)


def test_two_calls_in_one_line(tmp_path):
    line = "x = ExAllocatePool(NonPagedPool, 1); y = ExAllocatePool({}, 2);"
    assert fixed(tmp_path, entry(line.format("NonPagedPool"))) == entry(
        line.replace("NonPagedPool", "NonPagedPoolNx").format("NonPagedPoolNx")
    )
    outcomes = fix(str(lay(tmp_path, a__c=entry(line.format("Unknown()")))), Options())
    assert (outcomes.fixed, outcomes.left) == (1, 1)
    assert outcomes.withdrawn == ()


def test_levels_of_two_calls_in_one_line(tmp_path):
    head = "#define KIND NonPagedPool\n"
    line = "x = ExAllocatePool({}, 1); y = ExAllocatePool(KIND, 2);"
    before = head + entry(line.format("NonPagedPool"))
    assert fixed(tmp_path, before) == head + entry(line.format("NonPagedPoolNx"))


def test_a_file_that_changed_meanwhile_is_not_written(tmp_path):
    path = tmp_path / "a.c"
    path.write_text("int x;\n")
    with pytest.raises(InputError):
        write_text(str(path), b"int y;\n", b"int z;\n")
    assert path.read_text() == "int x;\n"


def test_a_path_without_sources_is_an_error(tmp_path):
    result = CliRunner().invoke(main, ["fix", str(tmp_path)])
    assert result.exit_code == 4


# ---- laws

TEXTS = st.binary(max_size=200)


def edit(start, end, new):
    """An edit of some bytes."""
    return Edit("a.c", start, end, 1, 1, 1, "", new, SAFE)


@given(
    TEXTS,
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 8), st.text("xy|", max_size=5)), max_size=6
    ),
)
def test_bytes_outside_the_edits_stay(text, wanted):
    edits = [edit(min(a, len(text)), min(a + n, len(text)), new) for a, n, new in wanted]
    after = changed(text, edits)
    at, seen = 0, 0
    for one in chosen(edits):
        assert after[seen : seen + one.start - at] == text[at : one.start]
        seen += one.start - at
        assert after[seen : seen + len(one.new)] == one.new.encode()
        seen, at = seen + len(one.new), one.end
    assert after[seen:] == text[at:]


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_a_diff_of_equal_texts_is_empty(before, after):
    assert (diff("a.c", before, after) == b"") == (
        before.splitlines(True) == after.splitlines(True)
    )


@given(
    st.text(alphabet="aЖ表 \t\r\n/*'\"", max_size=60),
    st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-16-be"]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_surroundings_stay(tmp_path, noise, codec):
    body = "\nPVOID f(void) { return ExAllocatePool(NonPagedPool, 1); }\n"
    raw = (noise + body).encode(codec)
    path = tmp_path / "a.c"
    path.write_bytes(raw)
    before, _ = decode(raw)
    outcomes = fix(str(path), Options())
    for file in outcomes.files:
        write_text(file.path, file.before, file.after)
        (one,) = file.edits
        assert file.after == before[: one.start] + b"NonPagedPoolNx" + before[one.end :]
    assert path.read_bytes() in (
        raw,
        raw.replace(
            "NonPagedPool,".encode(
                codec.removesuffix("16") + "16-le" if codec == "utf-16" else codec
            ),
            "NonPagedPoolNx,".encode("utf-16-le" if codec == "utf-16" else codec),
        ),
    )

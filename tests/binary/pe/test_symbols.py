"""Functions and lines from a PDB: of this very build, or not at all."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from symbolic.exceptions import Panic

from here import FIXTURES
from hvci.binary.symbols import Symbols, with_symbols
from hvci.evaluate import Options, evaluate
from hvci.model import DebugId, Evidence, ImageSite, Rva

BUILT = FIXTURES / "built"
SOURCES = sorted((BUILT.parent / "src").glob("*.c"))
DRIVERS = sorted(
    path.stem for path in BUILT.glob("*_bad.*.pdb") if (BUILT / f"{path.stem}.sys").exists()
)


@pytest.mark.parametrize("name", DRIVERS)
def test_every_finding_names_the_line_of_its_marker(name):
    report = evaluate(BUILT / f"{name}.sys", Options(symbols=()))
    expected = json.loads((BUILT / f"{name}.expected.json").read_text())["sites"]
    marked = {place["rva"]: place["line"] for site in expected for place in site["at"]}
    sites = [judged.call.site for judged in report.calls]
    sites += [finding.site for result in report.results for finding in result.findings]
    named = [site for site in sites if site.rva in marked]
    found = {site.rva for site in named}
    for mark in expected:
        at_places = [place["rva"] in found for place in mark["at"]]
        assert all(at_places) if mark["match"] == "all" else any(at_places), mark["id"]
    for site in named:
        assert site.line == marked[site.rva], site
        assert site.file in {f"src/{path.name}" for path in SOURCES}
        assert not site.function.startswith(("sub_", "mark."))


def test_what_a_run_saw_is_named_too():
    report = evaluate(BUILT / "calls_bad.x64.o2.sys", Options(symbols=(), verify=True))
    assert len({judged.call.tier for judged in report.calls}) > 1
    for judged in report.calls:
        assert judged.call.site.line, judged.call
        assert not judged.call.site.function.startswith("mark.")


def driver(tmp_path, pdb_name="sample_bad.x64.o2.pdb"):
    shutil.copy(BUILT / "sample_bad.x64.o2.sys", tmp_path)
    return tmp_path / "sample_bad.x64.o2.sys", tmp_path / pdb_name


def functions(report):
    return {judged.call.site.function for judged in report.calls}


def reasons(report):
    return [limit.reason for limit in report.limits]


def test_without_a_pdb_nothing_is_said_unless_it_was_asked_for(tmp_path):
    image, _ = driver(tmp_path)
    plain = evaluate(image)
    assert functions(evaluate(image, Options(symbols=()))) == functions(plain)
    asked = evaluate(image, Options(symbols=(str(tmp_path / "pdb"),)))
    assert "no PDB named sample_bad.x64.o2.pdb in the symbol folders" in reasons(asked)
    assert asked.verdict is plain.verdict


def test_folders_and_symbol_server_layout(tmp_path):
    image, _ = driver(tmp_path)
    debug_id = evaluate(image).image.debug_id
    name = "sample_bad.x64.o2.pdb"
    store = tmp_path / "store" / name / f"{debug_id.guid.replace('-', '')}{debug_id.age:X}"
    store.mkdir(parents=True)
    shutil.copy(BUILT / name, store)
    report = evaluate(image, Options(symbols=(str(tmp_path / "store"),)))
    assert "AllocateReceiveRing" in functions(report)
    assert reasons(report) == reasons(evaluate(image))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not a PDB", "sample_bad.x64.o2.pdb cannot be read"),
        (b"", "sample_bad.x64.o2.pdb cannot be read"),
        ((BUILT / "sample_clean.x64.o2.pdb").read_bytes(), "belongs to another build"),
        ((BUILT / "sample_bad.x64.o2.pdb").read_bytes()[:9000], "sample_bad.x64.o2.pdb "),
    ],
)
def test_a_wrong_pdb_is_a_limit(tmp_path, content, says):
    image, pdb = driver(tmp_path)
    pdb.write_bytes(content)
    report = evaluate(image, Options(symbols=()))
    assert functions(report) == functions(evaluate(image))
    (reason,) = set(reasons(report)) - set(reasons(evaluate(image)))
    assert says in reason


def test_a_pdb_of_the_same_stem_in_any_of_the_folders(tmp_path):
    image, pdb = driver(tmp_path)
    renamed = image.rename(tmp_path / "renamed.sys")
    shutil.copy(BUILT / pdb.name, tmp_path / "renamed.pdb")
    assert "AllocateReceiveRing" in functions(evaluate(renamed, Options(symbols=())))


def test_an_image_of_standard_input_has_only_the_folders_that_are_named():
    data = (BUILT / "sample_bad.x64.o2.sys").read_bytes()
    assert evaluate(data, Options(symbols=())).calls == evaluate(data).calls
    assert "AllocateReceiveRing" in functions(evaluate(data, Options(symbols=(str(BUILT),))))


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    image, pdb = driver(tmp_path)
    shutil.copy(BUILT / pdb.name, pdb)
    monkeypatch.setattr("hvci.binary.symbols.MAX_BYTES", 1000)
    report = evaluate(image, Options(symbols=(str(tmp_path),)))
    assert functions(report) == functions(evaluate(image))
    size = pdb.stat().st_size
    assert reasons(report)[-1] == f"{pdb.name} cannot be read: {size} bytes is too large"
    assert len(reasons(report)) == len(reasons(evaluate(image))) + 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Panic("symbolic panicked: 'mid > len' at /build/lib.rs:1"), "damaged debug information"),
        (PermissionError(13, "Permission denied", "/home/x.pdb"), "Permission denied"),
        (ValueError("bad debug file\n  caused by: EOF"), "bad debug file"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_is_one_sentence_without_paths(tmp_path, monkeypatch, error, says):
    image, pdb = driver(tmp_path)
    shutil.copy(BUILT / pdb.name, pdb)

    def broken(path):
        raise error

    monkeypatch.setattr("symbolic.debuginfo.Archive.open", broken)
    assert reasons(evaluate(image, Options(symbols=())))[-1] == f"{pdb.name} cannot be read: {says}"


@pytest.mark.parametrize(("own", "fits"), [("", True), ("-1", False), ("-a", False)])
def test_the_age_must_fit(tmp_path, monkeypatch, own, fits):
    image, pdb = driver(tmp_path)
    facts = evaluate(image).image
    guid = facts.debug_id.guid
    pdb.touch()
    part = SimpleNamespace(debug_id=guid.lower() + own, make_symcache=lambda: Table())
    archive = SimpleNamespace(iter_objects=lambda: [part])
    monkeypatch.setattr("symbolic.debuginfo.Archive.open", lambda path: archive)
    odd = replace(facts, debug_id=DebugId(guid, 0, pdb.name))
    found = with_symbols(Evidence(frozenset(), image=odd), (str(tmp_path),), asked=True)
    assert (not found.limits) is fits


def test_only_the_file_name_of_a_path_is_used(tmp_path):
    image, pdb = driver(tmp_path)
    facts = evaluate(image).image
    shutil.copy(BUILT / pdb.name, pdb)
    inner = tmp_path / "inner"
    inner.mkdir()
    for folder in ("..\\", "../", f"{tmp_path}/", "C:", "\\\\server\\share\\"):
        odd = replace(facts, debug_id=replace(facts.debug_id, path=folder + pdb.name))
        evidence = Evidence(frozenset(), image=odd)
        missing = with_symbols(evidence, (str(inner),), asked=True)
        assert [limit.reason for limit in missing.limits] == [
            f"no PDB named {pdb.name} in the symbol folders"
        ]
        assert not with_symbols(evidence, (str(tmp_path),), asked=True).limits


def test_hostile_names_open_nothing(tmp_path):
    image, _ = driver(tmp_path)
    facts = evaluate(image).image
    for path in ("a\0b", "..", "", "C:\\x\\..", "x.pdb:stream", "a" * 300):
        odd = replace(facts, debug_id=DebugId("0", 1, path))
        evidence = Evidence(frozenset(), image=odd)
        assert with_symbols(evidence, (str(tmp_path),), asked=False) == evidence
    bare = Evidence(frozenset(), image=replace(facts, debug_id=None))
    assert with_symbols(bare, (), asked=True) is bare


class Table:
    """A symbol table of (first, last, name, line)."""

    def __init__(self, *rows):
        self.rows = rows

    def lookup(self, address):
        return [
            SimpleNamespace(symbol=name, sym_addr=first, line=line, full_path=line and "a.c")
            for first, last, name, line in self.rows
            if first <= address <= last
        ]


F = (0x10, 0x1F, "F()", 3)
LABEL = (0x20, 0x25, "label", 0)


@pytest.mark.parametrize(
    ("rows", "function", "named"),
    [
        ((), "sub_10", ("sub_10", None)),
        ((F,), None, ("F", 3)),
        ((LABEL,), None, ("label", None)),
        ((F, LABEL), None, ("label", None)),
        ((F, LABEL, (0x26, 0x2F, "Other", 9)), None, ("label", None)),
        ((F, LABEL), "sub_10", ("F", 3)),
        ((F, LABEL), "sub_20", ("label", None)),
        (((0x10, 0x1D, "F()", 3), (0x1E, 0x1F, "first", 0), LABEL), "sub_10", ("F", 3)),
        ((F, *((at, at, "more", 0) for at in range(0x20, 0x34))), "sub_10", ("more", None)),
    ],
)
def test_labels_stand_for_the_function_around_them(rows, function, named):
    rva = 0x12 if rows == (F,) else rows[-1][0] if len(rows) > 9 else 0x22
    site = Symbols(Table(*rows)).named(ImageSite(Rva(rva), ".text", function))
    assert (site.function, site.line) == named


def test_a_function_that_goes_on_behind_a_label():
    around = (0x10, 0x2F, "F()", 3)

    class Inner(Table):
        def lookup(self, address):
            return super().lookup(address)[-1:]

    site = Symbols(Inner(around, LABEL)).named(ImageSite(Rva(0x22), ".text"))
    assert (site.function, site.line, site.file) == ("F", 3, "a.c")
    assert Symbols(Inner(LABEL)).named(ImageSite(Rva(0))).function is None

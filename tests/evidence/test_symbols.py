"""Functions and lines from a PDB: of this very build, or not at all."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hvci.binary.symbols import Symbols, with_symbols
from hvci.evaluate import Options, evaluate
from hvci.model import DebugId, Evidence, ImageSite, Rva

BUILT = Path(__file__).parents[1] / "fixtures/built"
DRIVERS = sorted(
    path.stem for path in BUILT.glob("*_bad.*.pdb") if (BUILT / f"{path.stem}.sys").exists()
)


@pytest.mark.parametrize("name", DRIVERS)
def test_every_finding_names_the_line_of_its_marker(name):
    report = evaluate(BUILT / f"{name}.sys", Options(symbols=()))
    marked = {
        place["rva"]: place["line"]
        for site in json.loads((BUILT / f"{name}.expected.json").read_text())["sites"]
        for place in site["at"]
    }
    named = [judged.call.site for judged in report.calls if judged.call.site.rva in marked]
    assert named
    for site in named:
        assert site.line == marked[site.rva], site
        assert site.file.endswith(".c")
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


def test_hostile_names_open_nothing(tmp_path):
    image, _ = driver(tmp_path)
    facts = evaluate(image).image
    for path in ("a\0b", "..", "", "C:\\x\\.."):
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

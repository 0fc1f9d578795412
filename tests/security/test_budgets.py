"""Every stage has a budget in steps or entries, and says so when it is spent."""

import itertools
import struct

import pytest

import build
import eventfiles
import hives
import policies
import signed
from hvci import signing
from hvci.binary import PeImage
from hvci.binary.pe import directories, headers
from hvci.errors import InputError
from hvci.evaluate import evaluate
from hvci.installed import hive
from hvci.lists import sipolicy_binary
from hvci.logs import event_log, events, gathered
from hvci.logs.gathered import gather
from hvci.model import NEWEST
from hvci.model.judged import CODE_RULES
from hvci.signing import authenticode
from hvci.source.builds.cmake import run as cmake_run
from hvci.source.builds.msbuild import files as msbuild_files
from hvci.source.builds.msbuild import projects as msbuild
from hvci.source.pointers import origins
from hvci.source.preprocess import expression
from hvci.source.preprocess import unit as preprocess
from sources import entry, lay, read, vcxproj

PLAIN = entry("ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a');")


def reasons(evidence):
    """The reasons of all limits, as one text."""
    return "\n".join(limit.reason for limit in evidence.limits)


# ---- images


def test_sections(monkeypatch):
    monkeypatch.setattr(headers, "MAX_SECTIONS", 2)
    with pytest.raises(InputError, match="sections"):
        evaluate(build.driver())


def test_imports(monkeypatch):
    monkeypatch.setattr(directories, "MAX_IMPORTS", 2)
    report = evaluate(build.driver())
    assert "more than 65,536 imports" in reasons(report)
    assert report.verdict != "compatible"


def test_exports(monkeypatch):
    place = 0x1000 + 0x10
    table = struct.pack("<IIHH7I", 0, 0, 0, 0, place, 1, 3, 3, place + 40, place + 52, place + 64)
    table += struct.pack("<6I3H", 0x1000, 0x1004, 0x1008, place, place, place, 0, 1, 2)
    code = b"\x33\xc0\xc3".ljust(0x10, b"\xcc") + table
    data = build.driver(code=code, directories={"export": (place, len(table))})
    image = PeImage(data)
    assert len(image.exports) == 3
    assert not image.problems
    monkeypatch.setattr(directories, "MAX_EXPORTS", 2)
    image = PeImage(data)
    assert len(image.exports) == 2
    assert image.problems == [("more than 65,536 exports", CODE_RULES)]


@pytest.mark.parametrize("name", ["MAX_RELOCATIONS", "MAX_BLOCKS"])
def test_relocations(monkeypatch, name):
    data = build.driver(pointers=(0, 0x800, 0x1008, 0x2010))
    assert len(PeImage(data).relocations.rvas) == 4
    monkeypatch.setattr(directories, name, 1)
    image = PeImage(data)
    assert len(image.relocations.rvas) < 4
    assert [reason for reason, _ in image.problems] == ["more relocations than are read"]
    assert evaluate(data).verdict != "compatible"


def test_signatures(monkeypatch):
    image = build.driver()
    data = signed.signed(image, signed.vendor())
    assert signing.read(data, NEWEST).reads
    monkeypatch.setattr(authenticode, "_MOST", 0)
    assert not signing.read(data, NEWEST).reads


# ---- sources


def test_lines_of_the_preprocessor(tmp_path, monkeypatch):
    monkeypatch.setattr(preprocess, "MAX_STEPS", 3)
    lay(tmp_path, a__c="#define A\n" * 9 + PLAIN, a__vcxproj=vcxproj("a.c"))
    assert "more than 3 preprocessor lines" in reasons(read(tmp_path))


def test_tokens_of_a_condition(tmp_path, monkeypatch):
    monkeypatch.setattr(expression, "MAX_TOKENS", 4)
    bomb = "#define A 0\n#define B A+A+A+A+A+A\n#if B+B\n#define NonPagedPoolNx 0\n#endif\n"
    lay(tmp_path, a__c=bomb + PLAIN, a__vcxproj=vcxproj("a.c"))
    assert evaluate(tmp_path).verdict != "compatible"


@pytest.mark.parametrize(
    ("name", "most"), [("MAX_STEPS", 1), ("MAX_TEXT", 10), ("MAX_COMMANDS", 1)]
)
def test_commands_of_cmake(tmp_path, monkeypatch, name, most):
    lay(tmp_path, CMakeLists__txt="set(S drv.c)\nwdk_add_driver(drv ${S})\n", drv__c=PLAIN)
    assert "too long" not in reasons(read(tmp_path))
    monkeypatch.setattr(cmake_run, name, most)
    assert cmake_said(tmp_path)


def cmake_said(folder):
    return "could not be followed" in reasons(read(folder))


def test_configurations_of_a_project(tmp_path, monkeypatch):
    lay(tmp_path, a__c=PLAIN, a__vcxproj=vcxproj("a.c", platforms=("x64", "ARM64")))
    assert "the rest was not" not in reasons(read(tmp_path))
    monkeypatch.setattr(msbuild, "MAX_CONFIGURATIONS", 1)
    assert "a.vcxproj: more than 1 configurations; the rest was not examined" in reasons(
        read(tmp_path)
    )


def test_files_of_a_wildcard(tmp_path, monkeypatch):
    lay(tmp_path, a__c=PLAIN, b__c=PLAIN, a__vcxproj=vcxproj("*.c"))
    assert "more than" not in reasons(read(tmp_path))
    monkeypatch.setattr(msbuild_files, "MAX_ITEMS", 1)
    assert "more than 1 files; the rest was not examined" in reasons(read(tmp_path))


def test_pointers_of_a_program(tmp_path, monkeypatch):
    call = "void *p = ExAllocatePoolWithTag(NonPagedPoolNx, 8, 'a'); ((void (*)(void))p)();"
    lay(tmp_path, a__c=entry(call))
    monkeypatch.setattr(origins, "MAX_STEPS", 0)
    assert evaluate(tmp_path).verdict != "compatible"


# ---- lists, logs, hives


def test_entries_of_a_policy(monkeypatch):
    policy = policies.to_binary(policies.Policy())
    sipolicy_binary.read_binary(policy)
    monkeypatch.setattr(sipolicy_binary, "_MOST", -1)
    with pytest.raises(InputError, match="claims"):
        sipolicy_binary.read_binary(policy)


def test_events_of_a_log(monkeypatch):
    log = eventfiles.evtx([eventfiles.hvci(f"{n}.sys") for n in range(4)])
    assert len(list(event_log.evtx_events(log))) == 4
    monkeypatch.setattr(event_log, "MAX_EVENTS", 2)
    assert len(list(event_log.evtx_events(log))) == 2
    assert not gather([log]).events_cut
    monkeypatch.setattr(gathered, "MAX_EVENTS", 2)
    assert gather([log]).events_cut


def test_events_and_lines_of_a_text(monkeypatch):
    text = eventfiles.xml([eventfiles.hvci(f"{n}.sys") for n in range(4)])
    assert len(list(events.xml_events(text))) == 4
    monkeypatch.setattr(events, "MAX_EVENTS", 2)
    assert len(list(events.xml_events(text))) == 2
    monkeypatch.setattr(gathered, "MAX_LINES", 1)
    assert gather([b"a\nb\nc\n"]).lines_cut == 2


def test_keys_of_a_hive(monkeypatch):
    data = hives.hive({"A": {"X": 1}, "B": {}, "C": {}})
    assert len(list(hive.Hive(data).root.subkeys())) == 3
    monkeypatch.setattr(hive, "MOST_SUBKEYS", 2)
    keys = hive.Hive(data).root.subkeys()
    assert [each.name for each in itertools.islice(keys, 2)] == ["A", "B"]
    with pytest.raises(hive.DamagedHive, match="more than 2 keys"):
        next(keys)

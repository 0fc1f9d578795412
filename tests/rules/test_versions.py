"""What depends on the Windows version changes at its edge and nowhere else."""

from dataclasses import replace
from pathlib import Path

import pytest

from facts import SITE, call, evidence, results
from hvci import catalog
from hvci.model import (
    TARGETS,
    BehaviourFact,
    Confidence,
    Origin,
    Outcome,
    Relocation,
    Rva,
    Via,
    WindowsVersion,
)
from reports import image

DOCS = Path(__file__).parents[2] / "docs"
EDGES = [version for version in WindowsVersion if version >= WindowsVersion.WINDOWS_8_1]


@pytest.mark.parametrize("version", TARGETS, ids=lambda version: version.slug)
def test_relocations_are_rejected_up_to_1607_and_not_later(version):
    odd = image(odd_relocations=(Relocation(Rva(0x3FFC), 10),), odd_relocation_count=1)
    outcome = results(evidence(target_os=version, image=odd))["unsupported-relocs"].outcome
    rejected = version <= WindowsVersion.WINDOWS_10_1607
    assert (outcome is Outcome.FAIL) == rejected


@pytest.mark.parametrize("version", EDGES, ids=lambda version: version.slug)
def test_nothing_newer_than_the_target_is_advised(version):
    for ddi in catalog.ddis().values():
        advised = ddi.replacement_for(version)
        since = [item.since for item in ddi.replacements if item.use == advised]
        usable = [item.since for item in ddi.replacements if item.since <= version]
        assert bool(advised) == bool(usable), ddi.name
        assert not advised or min(since) <= version, ddi.name


NEWER = "newer-than-target"
WINDOWS_7 = WindowsVersion.WINDOWS_7


def test_a_routine_that_the_target_lacks_is_noted():
    (found,) = newer(call("ExAllocatePool2", Flags=0x40))
    assert found.outcome is Outcome.NOTE
    assert "came with Windows 10 2004; the driver is for Windows 7" in found.message
    assert "MmGetSystemRoutineAddress" in found.fix


@pytest.mark.parametrize(
    "one",
    [
        call("ExAllocatePoolWithTag", PoolType=0x200),
        replace(call("ExAllocatePool2", Flags=0x40), via=Via.BY_NAME),
        replace(call("ExAllocatePool2", Flags=0x40), dead="for Windows 10 only"),
        call("NotInTheCatalogue"),
    ],
    ids=["old", "looked up", "dead", "unknown"],
)
def test_nothing_newer_is_said_of(one):
    assert newer(one) == ()


def test_a_flag_that_the_target_lacks_is_noted():
    said = NEWER, "POOL_NX_OPTIN came later", SITE, Origin.CALLSITE, Confidence.INFERRED
    flag = BehaviourFact(*said, fix="Leave it.")
    (found,) = results(evidence(target_os=WINDOWS_7, behaviours=(flag,)))[NEWER].findings
    assert (found.outcome, found.message, found.fix) == (Outcome.NOTE, flag.what, flag.fix)


def newer(one):
    return results(evidence(target_os=WINDOWS_7, calls=(one,)))[NEWER].findings


def test_the_page_of_versions_holds_each():
    text = (DOCS / "targets.md").read_text(encoding="utf-8")
    for version in EDGES:
        row = f"| {version.slug} | {int(version)} | {version.label} | {version.server} |"
        assert row in text

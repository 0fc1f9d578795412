"""What depends on the Windows version changes at its edge and nowhere else."""

from pathlib import Path

import pytest

from facts import evidence, results
from hvci import catalog
from hvci.model import TARGETS, Outcome, Relocation, Rva, WindowsVersion
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


def test_the_page_of_versions_holds_each():
    text = (DOCS / "targets.md").read_text(encoding="utf-8")
    for version in EDGES:
        row = f"| {version.slug} | {int(version)} | {version.label} | {version.server} |"
        assert row in text

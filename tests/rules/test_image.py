import pytest

from facts import (
    READ,
    READ_EXECUTE,
    READ_WRITE,
    READ_WRITE_EXECUTE,
    evidence,
    image,
    moved,
    outcomes,
    results,
    section,
)
from hvci.model import (
    Confidence,
    Evidence,
    FileOffset,
    Limit,
    Origin,
    Outcome,
    Relocation,
    Rva,
    Section,
    WindowsVersion,
)

FAIL, NOTE, PASS = Outcome.FAIL, Outcome.NOTE, Outcome.PASS
TEXT = section(".text", 0x1000, READ_EXECUTE)
OLD, NEW = WindowsVersion.WINDOWS_10_1607, WindowsVersion.WINDOWS_10_1703


def only(facts, rule):
    """The one finding of a rule."""
    (finding,) = results(facts)[rule].findings
    return finding


def test_the_clean_image_passes_every_rule():
    assert set(outcomes(evidence()).values()) == {PASS, Outcome.NOT_APPLICABLE}


# ---- execute-write-section


@pytest.mark.parametrize("characteristics", [READ, READ_WRITE, READ_EXECUTE, 0x2000_0000])
def test_a_section_with_one_of_the_rights_is_silent(characteristics):
    sections = (TEXT, section(".x", 0x3000, characteristics))
    assert not moved(evidence(image=image(sections=sections)))


@pytest.mark.parametrize("characteristics", [READ_WRITE_EXECUTE, 0xA000_0000, 0xE200_0060])
@pytest.mark.parametrize("name", [".hook", "INIT2", ".INIT", "INI", " INIT", ""])
def test_a_section_with_both_rights_fails(name, characteristics):
    facts = evidence(image=image(sections=(TEXT, section(name, 0x3000, characteristics))))
    assert moved(facts) == {"execute-write-section": FAIL}
    finding = only(facts, "execute-write-section")
    assert finding.site.rva == 0x3000
    assert finding.site.section == name
    assert finding.confidence is Confidence.INFERRED
    assert finding.fix


def test_an_empty_section_is_not_exempt():
    facts = evidence(image=image(sections=(section(".x", 0x1000, READ_WRITE_EXECUTE, 0),)))
    assert moved(facts) == {"execute-write-section": FAIL}


@pytest.mark.parametrize("name", ["INIT", "init", "Init"])
def test_init_is_a_note_and_counts_nothing(name):
    facts = evidence(image=image(sections=(TEXT, section(name, 0x3000, READ_WRITE_EXECUTE))))
    assert moved(facts) == {"execute-write-section": NOTE}
    assert "removes the write right" in only(facts, "execute-write-section").message


def test_init_does_not_excuse_its_neighbour():
    sections = (
        section("INIT", 0x1000, READ_WRITE_EXECUTE),
        section(".hook", 0x3000, READ_WRITE_EXECUTE),
    )
    facts = evidence(image=image(sections=sections))
    assert moved(facts) == {"execute-write-section": FAIL}
    found = results(facts)["execute-write-section"].findings
    assert [finding.outcome for finding in found] == [NOTE, FAIL]


# ---- section-alignment


@pytest.mark.parametrize("alignment", [0x1000, 0x2000, 0x1_0000, 0x20_0000])
def test_whole_pages_are_silent(alignment):
    assert not moved(evidence(image=image(section_alignment=alignment)))


@pytest.mark.parametrize("alignment", [0, 0x20, 0x80, 0x200, 0x800, 0x1800, 0x1001])
def test_anything_else_fails_once_for_each_section(alignment):
    facts = evidence(image=image(section_alignment=alignment))
    assert moved(facts) == {"section-alignment": FAIL}
    found = results(facts)["section-alignment"].findings
    assert [finding.site.section for finding in found] == [".text", ".rdata", ".data"]
    assert f"{alignment:#x}" in found[0].message


@pytest.mark.parametrize("alignment", [0x20, 0x200, 0x1000])
def test_file_alignment_plays_no_role(alignment):
    assert not moved(evidence(image=image(file_alignment=alignment)))


# ---- iat-in-executable-section


def test_no_directory_and_tables_in_data_are_silent():
    assert not moved(evidence(image=image(iat=None)))


@pytest.mark.parametrize("start", [0x1000, 0x1400, 0x17FF])
def test_a_table_that_starts_in_code_fails(start):
    facts = evidence(image=image(iat=(Rva(start), 0x40)))
    assert moved(facts) == {"iat-in-executable-section": FAIL}
    assert only(facts, "iat-in-executable-section").site.rva == start


@pytest.mark.parametrize("start", [0xFFF, 0x1800, 0x2000])
def test_a_table_that_starts_beside_code_is_silent(start):
    assert not moved(evidence(image=image(iat=(Rva(start), 0x40))))


def test_an_empty_directory_is_silent():
    assert not moved(evidence(image=image(iat=(Rva(0x1000), 0))))


def test_only_virtual_size_counts():
    hollow = Section(".text", Rva(0x1000), 0, FileOffset(0), 0x800, READ_EXECUTE)
    assert not moved(evidence(image=image(sections=(hollow,), iat=(Rva(0x1000), 8))))


def test_each_section_that_holds_the_table_is_counted():
    sections = (TEXT, section(".twin", 0x1000, READ_EXECUTE))
    facts = evidence(image=image(sections=sections, iat=(Rva(0x1000), 8)))
    assert len(results(facts)["iat-in-executable-section"].findings) == 2


@pytest.mark.parametrize("iat", [None, (Rva(0x2000), 0x40)])
def test_tables_in_code_outside_the_directory_are_a_note(iat):
    tables = (("hal.dll", Rva(0x1010)), ("ntoskrnl.exe", Rva(0x2000)), ("x.sys", Rva(0x9000)))
    facts = evidence(image=image(iat=iat, import_tables=tables))
    assert moved(facts) == {"iat-in-executable-section": NOTE}
    assert "hal.dll" in only(facts, "iat-in-executable-section").message


# ---- unsupported-relocs


def odd(*relocations, count=None, target=OLD, **change):
    return evidence(
        target_os=target,
        image=image(
            odd_relocations=relocations,
            odd_relocation_count=len(relocations) if count is None else count,
            **change,
        ),
    )


@pytest.mark.parametrize("target", [OLD, NEW])
def test_no_odd_relocations_are_silent(target):
    assert not moved(odd(target=target))


@pytest.mark.parametrize(
    ("relocation", "confidence"),
    [
        (Relocation(Rva(0x3FFC), 10), Confidence.DOCUMENTED),
        (Relocation(Rva(0x3000), 3), Confidence.OBSERVED),
    ],
)
def test_they_fail_up_to_1607_and_are_a_note_after(relocation, confidence):
    assert moved(odd(relocation)) == {"unsupported-relocs": FAIL}
    assert moved(odd(relocation, target=NEW)) == {"unsupported-relocs": NOTE}
    old = only(odd(relocation), "unsupported-relocs")
    new = only(odd(relocation, target=NEW), "unsupported-relocs")
    assert old.confidence is new.confidence is confidence
    assert old.site.rva == relocation.rva
    assert old.fix
    assert not new.fix
    assert "1507 to 1607" in new.message


def test_many_share_a_finding_that_counts_the_rest():
    relocations = [Relocation(Rva(0x3FFC + 0x1000 * i), 10) for i in range(70)]
    found = results(odd(*relocations, count=1000))["unsupported-relocs"].findings
    assert len(found) == 65
    assert sum(finding.count for finding in found) == 1000


def test_sites_outside_every_section_have_no_section():
    finding = only(odd(Relocation(Rva(0x9FFC), 10)), "unsupported-relocs")
    assert finding.site.section == ""


def test_32_bit_images_are_not_examined():
    facts = odd(Relocation(Rva(0x3FFC), 3), is_pe32_plus=False)
    result = results(facts)["unsupported-relocs"]
    assert result.outcome is Outcome.NOT_APPLICABLE
    assert result.reason


# ---- without an image


def test_relocations_are_not_known_from_source():
    source = Evidence(frozenset({Origin.SOURCE}), target_os=NEW)
    assert results(source)["unsupported-relocs"].outcome is Outcome.NOT_APPLICABLE
    limit = Limit(Origin.SOURCE, ("unsupported-relocs",), "known in the built image only")
    source = Evidence(frozenset({Origin.SOURCE}), target_os=OLD, limits=(limit,))
    assert results(source)["unsupported-relocs"].outcome is Outcome.UNDECIDED


# ---- the remedy fits the linker


@pytest.mark.parametrize(
    ("rule", "change", "by_link", "by_gnu"),
    [
        (
            "execute-write-section",
            {"sections": (section(".x", 0x1000, READ_WRITE_EXECUTE),)},
            "/SECTION",
            "--omagic",
        ),
        ("section-alignment", {"section_alignment": 0x80}, "/ALIGN", "--section-alignment"),
        ("iat-in-executable-section", {"iat": (Rva(0x1000), 8)}, "/MERGE", "--omagic"),
    ],
)
def test_the_remedy_fits_the_linker(rule, change, by_link, by_gnu):
    usual, gnu = (
        results(evidence(image=image(linker_version=version, **change)))[rule].findings[0].fix
        for version in ((14, 0), (2, 40))
    )
    assert by_link in usual
    assert by_gnu not in usual
    assert by_gnu in gnu
    assert "/" not in gnu

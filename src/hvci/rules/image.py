"""Rules that the PE headers alone can answer."""

from __future__ import annotations

from collections.abc import Iterator

from hvci.model import (
    PAGE_SIZE,
    Confidence,
    Counter,
    Evidence,
    Finding,
    Image,
    ImageSite,
    Origin,
    Outcome,
    Question,
    Rva,
    Section,
    WindowsVersion,
)
from hvci.rules import linking
from hvci.rules.rule import rule

IMAGE_OR_PROJECT = {Origin.IMAGE, Origin.SOURCE}
"""A project's linker settings say what the image will be."""
LOADS_AND_READINESS = (Question.LOADS, Question.READINESS)
LAST_TO_REJECT_RELOCATIONS = WindowsVersion.WINDOWS_10_1607
DIR64 = 10
APART = (
    "Make the section either executable or writable: drop /SECTION:...,ERW and /MERGE options that "
    "join code with data.",
    "Make the section either executable or writable: GNU ld joins code and data that have sections "
    "of one name, and all of them with -N (--omagic) or a linker script that says so.",
)
"""What to do with Microsoft's or LLVM's linker, then with GNU's."""
ON_PAGES = (
    "Link with /ALIGN:0x1000 (DRIVER_ALIGNMENT=0x1000) or without /ALIGN.",
    "Link with --section-alignment 0x1000, which is GNU ld's default.",
)
IMPORTS_APART = (
    "Remove /MERGE options that join .rdata or .idata with a code section.",
    "Leave .idata a section of its own: correct the linker script, link without -N (--omagic).",
)
SHOWN_RELOCATIONS = 64
"""So many relocations get a finding of their own; the rest share one."""


def _image(evidence: Evidence) -> Image:
    """Image evidence always carries the image."""
    assert evidence.image is not None
    return evidence.image


def _fitting(image: Image, remedies: tuple[str, str]) -> str:
    """The remedy for the linker that made the image."""
    return remedies[image.linked_by_gnu]


def _section_site(section: Section) -> ImageSite:
    return ImageSite(section.rva, section.name)


@rule(
    number=2003,
    counter=Counter.EXECUTE_WRITE_SECTION,
    questions=LOADS_AND_READINESS,
    sees=IMAGE_OR_PROJECT,
)
def execute_write_section(evidence: Evidence) -> Iterator[Finding]:
    """The image contains a section that is both executable and writable.

    Why: with memory integrity on, a page of kernel code is never writable, so such a section
        cannot be mapped with the rights that it asks for. Windows names this check strict mode
        (event 3073); that the image does not load is inferred. A section named INIT is the
        exception: Windows 10 and later take its write right away at load.
    Bad: `#pragma comment(linker, "/SECTION:.hook,ERW")`
    Good: keep code in `.text` (execute, read) and data in `.data` (read, write).
    Fix: remove `/SECTION:name,...W...E...` and `/MERGE` options that join code with data; build
        with Visual Studio 2015 or later, which no longer makes INIT writable. GNU ld: give code
        and data sections of different names, and link without `-N` (`--omagic`).
    """
    yield from linking.write_sections(evidence)
    image = evidence.image
    for section in image.sections if image else ():
        if not (section.executable and section.writable):
            continue
        if section.name.upper() == "INIT":
            yield Finding(
                Outcome.NOTE,
                f"section {section.name} is executable and writable; Windows removes the write "
                "right from a section of this name at load, so it is not counted",
                _section_site(section),
                Origin.IMAGE,
                Confidence.OBSERVED,
            )
            continue
        yield Finding(
            Outcome.FAIL,
            f"section {section.name} is executable and writable; Windows names this check strict "
            "mode",
            _section_site(section),
            Origin.IMAGE,
            Confidence.INFERRED,
            fix=_fitting(_image(evidence), APART),
        )


@rule(
    number=2004,
    counter=Counter.SECTION_ALIGNMENT_FAILURES,
    questions=LOADS_AND_READINESS,
    sees=IMAGE_OR_PROJECT,
)
def section_alignment(evidence: Evidence) -> Iterator[Finding]:
    """The sections of the image do not start on page boundaries.

    Why: memory integrity protects whole pages; sections that share a page cannot have rights of
        their own, so the image does not load. Windows counts one failure for each section.
    Bad: `link /DRIVER /ALIGN:0x80`
    Good: `link /DRIVER /ALIGN:0x1000` or no `/ALIGN` at all.
    Fix: set `DRIVER_ALIGNMENT=0x1000` or remove the `/ALIGN` option (GNU ld:
        `--section-alignment`).
    """
    yield from linking.small_alignments(evidence)
    image = evidence.image
    if image is None:
        return
    alignment = image.section_alignment
    if alignment and alignment % PAGE_SIZE == 0:
        return
    for section in image.sections:
        yield Finding(
            Outcome.FAIL,
            f"SectionAlignment is {alignment:#x}, not a multiple of 0x1000; section {section.name} "
            "shares pages with its neighbours",
            _section_site(section),
            Origin.IMAGE,
            Confidence.DOCUMENTED,
            fix=_fitting(image, ON_PAGES),
        )


@rule(
    number=2005,
    counter=Counter.IAT_IN_EXECUTABLE_SECTION,
    questions=LOADS_AND_READINESS,
    sees=IMAGE_OR_PROJECT,
)
def iat_in_executable_section(evidence: Evidence) -> Iterator[Finding]:
    """The import address table lies in an executable section.

    Why: the loader writes the addresses of imported functions into this table, and a page of
        code is never writable with memory integrity on.
    Bad: `link /DRIVER /MERGE:.rdata=.text`
    Good: leave `.rdata` (with the table) a section of its own, readable only.
    Fix: remove the `/MERGE` option that joins `.rdata` or `.idata` with a code section.
    """
    yield from linking.imports_in_code(evidence)
    image = evidence.image
    if image is None:
        return
    start, size = image.iat or (Rva(0), 0)
    for section in image.sections:
        # Windows looks at the start of the directory and at VirtualSize only.
        if (
            size
            and section.executable
            and section.rva <= start < section.rva + section.virtual_size
        ):
            yield Finding(
                Outcome.FAIL,
                f"the import address table lies in the executable section {section.name}",
                ImageSite(start, section.name),
                Origin.IMAGE,
                Confidence.INFERRED,
                fix=_fitting(image, IMPORTS_APART),
            )
    yield from _tables_in_code(image, range(start, start + size))


def _tables_in_code(image: Image, directory: range) -> Iterator[Finding]:
    """Note import tables in code outside the directory: Windows does not look at them."""
    for module, table in image.import_tables:
        section = image.section_at(table)
        if section is not None and section.executable and table not in directory:
            yield Finding(
                Outcome.NOTE,
                f"imports of {module} lie in the executable section {section.name}, but not in the "
                "import address table directory, so the verifier does not see them",
                ImageSite(table, section.name),
                Origin.IMAGE,
                Confidence.INFERRED,
            )


def _relocations_do_not_apply(evidence: Evidence) -> str:
    image = evidence.image
    if image is None:
        matters = evidence.target_os <= LAST_TO_REJECT_RELOCATIONS
        return "" if matters else "Windows 10 1703 and later reject no relocations"
    return "" if image.is_pe32_plus else "Windows examines relocations of 64-bit images only"


@rule(
    number=2006,
    counter=Counter.UNSUPPORTED_RELOCS,
    questions=LOADS_AND_READINESS,
    sees=IMAGE_OR_PROJECT,
    not_applicable=_relocations_do_not_apply,
)
def unsupported_relocs(evidence: Evidence) -> Iterator[Finding]:
    """The image contains relocations that cross a page boundary or are of an unusual type.

    Why: Windows 10 1507 to 1607 could not apply such relocations with memory integrity on and
        counted each; Windows 10 1703 and later support them and count nothing.
    Bad: `#pragma pack(1)` around a structure with a pointer in a static table
    Good: keep pointers in static data aligned to 8 bytes.
    Fix: align the pointers, or target Windows 10 1703 and later.
    """
    image = evidence.image
    if image is None:
        return
    shown = image.odd_relocations[:SHOWN_RELOCATIONS]
    for relocation in shown:
        if relocation.type == DIR64:
            what, sure = "the pointer crosses a page boundary", Confidence.DOCUMENTED
        else:
            what, sure = f"a relocation of type {relocation.type}, not DIR64", Confidence.OBSERVED
        yield _relocation(evidence, relocation.rva, what, 1, sure)
    rest = image.odd_relocation_count - len(shown)
    if shown and rest > 0:
        what = f"{rest} further relocations like these follow"
        yield _relocation(evidence, shown[-1].rva, what, rest, Confidence.OBSERVED)


def _relocation(
    evidence: Evidence, rva: Rva, what: str, count: int, confidence: Confidence
) -> Finding:
    section = _image(evidence).section_at(rva)
    matters = evidence.target_os <= LAST_TO_REJECT_RELOCATIONS
    return Finding(
        Outcome.FAIL if matters else Outcome.NOTE,
        what if matters else f"{what}; only Windows 10 1507 to 1607 reject it",
        ImageSite(rva, section.name if section else ""),
        Origin.IMAGE,
        confidence,
        fix="Align pointers in static data to 8 bytes." if matters else "",
        count=count,
    )

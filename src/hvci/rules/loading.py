"""Rules about images that no Windows of the target could load, whatever their code does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hvci.model import (
    LAST_32_BIT_SERVER,
    Confidence,
    Evidence,
    Finding,
    ImageSite,
    Machine,
    Origin,
    Outcome,
    Question,
    Rva,
    newest_for,
)
from hvci.rules.rule import rule

IMAGE_OR_PROJECT = {Origin.IMAGE, Origin.SOURCE}


def _no_image(evidence: Evidence) -> str:
    return "" if evidence.image else "known of a built image only"


@rule(number=2008, questions={Question.LOADS}, sees=IMAGE_OR_PROJECT, not_applicable=_no_image)
def no_edition_for_machine(evidence: Evidence) -> Iterator[Finding]:
    """The image is for 32-bit Windows, and the Windows it is judged for has no 32-bit edition.

    Why: 64-bit Windows loads no 32-bit driver; Windows 11 and Windows Server since 2008 R2 have
        64-bit editions only.
    Bad: a driver built for x86 that is meant for Windows 11
    Good: builds for x64 and ARM64, and the x86 build for Windows 10 alone
    Fix: build the driver for x64 or ARM64, or judge the x86 build for a Windows that can load it:
        `--target-os 10-22h2` or older.
    """
    image = evidence.image
    assert image is not None  # else the rule does not apply
    last = LAST_32_BIT_SERVER if evidence.on_server else newest_for(image.machine)
    if image.machine is Machine.X86 and evidence.target_os > last:
        which = "Windows Server" if evidence.on_server else evidence.target_os.label
        yield Finding(
            Outcome.FAIL,
            f"a 32-bit image: {which} has no 32-bit edition, and 64-bit Windows "
            f"loads no 32-bit driver; the last that could is {last.label}",
            ImageSite(Rva(0)),
            Origin.IMAGE,
            Confidence.DOCUMENTED,
            f"Build it for x64 or ARM64, or judge it with --target-os {last.slug} or older.",
        )


@rule(number=2007, questions={Question.LOADS}, sees=IMAGE_OR_PROJECT, not_applicable=_no_image)
def section_without_access(evidence: Evidence) -> Iterator[Finding]:
    """The image has a section that may be neither read, written nor executed.

    Why: linkers give every section at least the right to be read. What Windows does with one that
        has no right at all when memory integrity protects the image is not known.
    Bad: a section whose Characteristics lack IMAGE_SCN_MEM_READ, _WRITE and _EXECUTE
    Good: `.rdata` (read), `.data` (read, write), `.text` (execute, read)
    Fix: give the section the rights that its contents need (`/SECTION:name,R`), or drop it.
    """
    image = evidence.image
    assert image is not None  # else the rule does not apply
    for section in image.sections:
        if not (section.readable or section.writable or section.executable):
            yield Finding(
                Outcome.UNDECIDED,
                f"section {section.name} may be neither read, written nor executed; whether "
                "Windows loads such an image is not known",
                ImageSite(section.rva, section.name),
                Origin.IMAGE,
                Confidence.INFERRED,
                "Give the section the rights that its contents need, or drop it.",
            )


@rule(number=2009, sees={Origin.IMAGE})
def unusual_layout(evidence: Evidence) -> Iterator[Finding]:
    """The image is laid out in a way for which Windows has a failure of its own.

    Why: when memory integrity refuses an image, event 3111 prints such failures by name. What
        each of them measures is not published, so this is a note: no linker of a kit makes it.
    Bad: sections that are moved or joined by a tool that runs after the linker
    Good: the image as the linker wrote it
    Fix: leave the layout to the linker; where a packer or a patch made it, build without.
    """
    image = evidence.image
    assert image is not None  # else the rule does not apply
    ascending = sorted(image.sections, key=lambda section: section.rva)
    for section, expected in zip(image.sections, ascending, strict=True):
        if section.rva != expected.rva:
            yield _named(
                "The sections of the image are not in ascending order",
                f"section {section.name} stands where {expected.name} is expected",
                ImageSite(section.rva, section.name),
            )
            break
    on_disk = [section for section in image.sections if section.raw_size]
    for one, other in pairwise(on_disk):
        if one.raw_offset + one.raw_size != other.raw_offset:
            yield _named(
                "The image sections are not contiguous on disk",
                f"the data of section {one.name} end at offset {one.raw_offset + one.raw_size:#x} "
                f"of the file, and those of {other.name} begin at {other.raw_offset:#x}",
                ImageSite(other.rva, other.name),
            )
            break


def _named(name: str, what: str, site: ImageSite) -> Finding:
    """What fits a failure that Windows has a name for."""
    return Finding(
        Outcome.NOTE,
        f'{what}; Windows knows a failure called "{name}", and whether it means this is not known',
        site,
        Origin.IMAGE,
        Confidence.OBSERVED,
    )

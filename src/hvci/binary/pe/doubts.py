"""What a file does not show of its own image: code that is missing, cut off, or hidden.

Looks at headers and imports only. Every doubt names the rules that may then not pass.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci import catalog
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.packed import packed_sections
from hvci.model import Section
from hvci.model.judged import CODE_RULES, RELOCATION_RULES

OTHER_MODULES = frozenset(("hal.dll", "wdfldr.sys"))
"""What leads to routines of the catalogue, besides the modules that have them."""
CONTAINS_CODE = 0x20
"""IMAGE_SCN_CNT_CODE: data that is not initialised may execute by mistake."""
PAGE = 0x1000
"""No linker leaves so much of its code out of the file."""

Doubt = tuple[str, tuple[str, ...]]


def doubts(image: PeImage) -> Iterator[Doubt]:
    """(reason, ids of the weakened rules) of everything that is not in the file."""
    for section in image.sections:
        if reason := _missing(section, image.file_size):
            yield reason, CODE_RULES + (() if section.executable else RELOCATION_RULES)
    for name, size in packed_sections(image):
        yield (
            f"section {name} holds {size:,} bytes that look packed or encrypted, not like code; "
            "examine the driver as it was before it was packed or protected",
            CODE_RULES,
        )
    entry = image.headers.entry
    if entry and not image.is_code(entry):
        yield (
            f"the entry point {entry:#x} lies in no executable section of the file; the image may "
            "be packed or damaged",
            CODE_RULES,
        )
    numbered = {item.module for item in image.imports.values() if item.name.startswith("#")}
    asked = {ddi.module.lower() for ddi in catalog.ddis().values()} if numbered else set()
    for module in sorted(numbered & (asked | OTHER_MODULES)):
        yield f"imports of {module} by number; what they are is not known", CODE_RULES


def _missing(section: Section, file_size: int) -> str:
    """Say that the file lacks content of a section; empty when it does not."""
    if section.executable and section.virtual_size and not section.raw_size:
        return f"section {section.name} is code that the file does not hold; the image is packed"
    holds_code = section.executable and section.characteristics & CONTAINS_CODE
    if holds_code and section.virtual_size - section.raw_size >= PAGE:
        lacking = section.virtual_size - section.raw_size
        return f"section {section.name} has {lacking:,} bytes more in memory than in the file"
    wanted = min(section.raw_size, section.virtual_size or section.raw_size)
    if wanted and section.raw_offset + wanted > file_size:
        return f"the file ends within section {section.name}"
    return ""

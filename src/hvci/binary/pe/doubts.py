"""What a file does not show of its own image: code that is missing, cut off, or hidden.

Looks at headers and imports only. Every doubt names the rules that may then not pass.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.binary.pe.image import PeImage
from hvci.model import Section
from hvci.model.judged import CODE_RULES, RELOCATION_RULES

KERNEL_MODULES = ("ntoskrnl.exe", "hal.dll", "ndis.sys", "fltmgr.sys", "storport.sys", "wdfldr.sys")

Doubt = tuple[str, tuple[str, ...]]


def doubts(image: PeImage) -> Iterator[Doubt]:
    """(reason, ids of the weakened rules) of everything that is not in the file."""
    for section in image.sections:
        if reason := _missing(section, image.file_size):
            yield reason, CODE_RULES + (() if section.executable else RELOCATION_RULES)
    entry = image.headers.entry
    if entry and not image.is_code(entry):
        yield (
            f"the entry point {entry:#x} lies in no executable section of the file; the image may "
            "be packed or damaged",
            CODE_RULES,
        )
    numbered = {item.module for item in image.imports.values() if item.name.startswith("#")}
    for module in sorted(numbered.intersection(KERNEL_MODULES)):
        yield f"imports of {module} by number; what they are is not known", CODE_RULES


def _missing(section: Section, file_size: int) -> str:
    """Say that the file lacks content of a section; empty when it does not."""
    if section.executable and section.virtual_size and not section.raw_size:
        return f"section {section.name} is code that the file does not hold; the image is packed"
    wanted = min(section.raw_size, section.virtual_size or section.raw_size)
    if wanted and section.raw_offset + wanted > file_size:
        return f"the file ends within section {section.name}"
    return ""

"""Reports in every form that anyone reads. Judges nothing and opens no file.

Heavy imports stay inside the output that needs them: a machine reader pays for no terminal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from hvci.report.decode import document_from, from_json
from hvci.report.document import SCHEMA_VERSION, Document, TargetError, worst

if TYPE_CHECKING:
    from hvci.report.text import Style


class Format(StrEnum):
    """The outputs; the value is what the command line calls them."""

    TEXT = "text"
    JSON = "json"


def render(document: Document, form: Format, style: Style | None = None) -> str:
    """The document in one form; `style` matters for text only."""
    if form is Format.JSON:
        from hvci.report.encode import to_json

        return to_json(document)
    from hvci.report import text

    return text.to_text(document, style or text.Style())


__all__ = [
    "SCHEMA_VERSION",
    "Document",
    "Format",
    "TargetError",
    "document_from",
    "from_json",
    "render",
    "worst",
]

"""Reports in every form that anyone reads. Judges nothing and opens no file.

Heavy imports stay inside the output that needs them: a machine reader pays for no terminal.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from hvci.report.document import SCHEMA_VERSION, Document, TargetError, worst

if TYPE_CHECKING:
    from hvci.report.text import Style


def from_json(text: str) -> Document:
    """Read a saved document; raise `InputError` that names the place when it is none."""
    from hvci.report.decode import from_json as read

    return read(text)


def document_from(data: object) -> Document:
    """Make a document of parsed JSON."""
    from hvci.report.decode import document_from as read

    return read(data)


class Format(StrEnum):
    """The outputs; the value is what the command line calls them."""

    TEXT = "text"
    CONCISE = "concise"
    """One line for each finding, as compilers print them."""
    JSON = "json"
    SARIF = "sarif"
    CODE_SCANNING = "code-scanning"
    """SARIF without what passes, for viewers that show every result as an alert."""
    JUNIT = "junit"
    HTML = "html"
    MARKDOWN = "markdown"
    CSV = "csv"
    READINESS = "readiness"
    MSVS = "msvs"
    GITHUB = "github"


MEDIA = MappingProxyType(
    {
        Format.JSON: ("application/json", "json"),
        Format.SARIF: ("application/sarif+json", "sarif"),
        Format.CODE_SCANNING: ("application/sarif+json", "sarif"),
        Format.JUNIT: ("application/xml", "xml"),
        Format.HTML: ("text/html; charset=utf-8", "html"),
        Format.MARKDOWN: ("text/markdown; charset=utf-8", "md"),
        Format.CSV: ("text/csv; charset=utf-8", "csv"),
    }
)
"""The type of a file in a format and how its name ends; all others are plain text."""


def render(document: Document, form: Format, style: Style | None = None) -> str:
    """The document in one form; `style` matters for text only."""
    match form:
        case Format.TEXT:
            from hvci.report import text

            return text.to_text(document, style or text.Style())
        case Format.CONCISE:
            from hvci.report.concise import to_concise

            return to_concise(document)
        case Format.JSON:
            from hvci.report.encode import to_json

            return to_json(document)
        case Format.SARIF | Format.CODE_SCANNING:
            from hvci.report.sarif import to_sarif

            return to_sarif(document, alerts_only=form is Format.CODE_SCANNING)
        case Format.JUNIT:
            from hvci.report.junit import to_junit

            return to_junit(document)
        case Format.HTML:
            from hvci.report.page import to_html

            return to_html(document)
        case Format.MARKDOWN:
            from hvci.report.markdown import to_markdown

            return to_markdown(document)
    return _lines(document, form)


def _lines(document: Document, form: Format) -> str:
    from hvci.report import lines

    outputs = {
        Format.CSV: lines.to_csv,
        Format.READINESS: lines.to_readiness,
        Format.MSVS: lines.to_msvs,
        Format.GITHUB: lines.to_github,
    }
    return outputs[form](document)


__all__ = [
    "MEDIA",
    "SCHEMA_VERSION",
    "Document",
    "Format",
    "TargetError",
    "document_from",
    "from_json",
    "render",
    "worst",
]

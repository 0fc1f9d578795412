"""Saved reports, read back and rendered in every form."""

from __future__ import annotations

from collections.abc import Iterator

from answers import answer_or_sentence

import reports
from hvci.report import Document, Format, from_json, render


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        document = from_json(data.decode("utf-8-sig", "replace"))
        for form in Format:
            render(document, form)


def seeds() -> Iterator[bytes]:
    """A report with everything in it, and a small one."""
    yield render(Document((reports.everything(),)), Format.JSON).encode()
    yield render(Document((reports.report(),)), Format.JSON).encode()
    yield render(Document(()), Format.JSON).encode()

"""One signed driver, for asking lists about it."""

from __future__ import annotations

import build
import resources
import signed
from hvci import signing
from hvci.lists import DriverList
from hvci.lists.subject import Subject
from hvci.model import NEWEST

_image = resources.with_version(build.driver(), CompanyName="Vendor", OriginalFilename="a.sys")
SUBJECT = Subject(signing.read(signed.signed(_image, signed.vendor()), NEWEST), "C:\\x\\a.sys")


def ask(one: DriverList) -> None:
    """Ask a list; its answer is made of words that a report can show."""
    answer = one.ask(SUBJECT)
    assert isinstance(answer.doubt, str)

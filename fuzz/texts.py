"""Sources and projects for fuzzers: text as it is, or words of known texts in any order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from answers import answer_or_sentence, folder, written
from choices import Choices

from hvci.evaluate import report_on
from hvci.model import NEWEST, Target
from hvci.source import drivers

SOURCE = b"int f(void) { ExAllocatePool(NonPagedPool, 8); MmMapIoSpace(1, 2, 3); return 0; }\n"
LONGEST = 20_000


def examined(name: str, data: bytes, known: Sequence[str], beside: bytes = b"") -> None:
    """Examine one file of sources; its driver is judged if there is one."""
    text = _woven(Choices(data[1:]), known) if data[:1] == b"\1" else data[1:]
    path = written(name, text[:LONGEST])
    if beside:
        (folder() / "driver.c").write_bytes(beside)
    with answer_or_sentence():
        for part in drivers(path, NEWEST).each(NEWEST, str(path)):
            report = report_on(
                Target(part.path, part.sha256, part.size_bytes, "source"), part.evidence
            )
            assert report.verdict in ("compatible", "incompatible", "undecided")


def _woven(choose: Choices, known: Sequence[str]) -> bytes:
    """Words of a text, some of which are moved, repeated, left out or replaced."""
    words = _words(choose.pick(known))
    every = [word for text in known for word in _words(text)]
    out: list[str] = []
    at = 0
    while at < len(words) and len(out) < 4000:
        what = choose.below(32) if choose else 0
        if what == 1:
            at += choose.below(8)
        elif what == 2:
            out += out[-1 - choose.below(40) :]
        elif what == 3:
            out.append(choose.pick(every))
        elif what == 4:
            at = max(0, at - choose.below(16)) if choose else at + 1
        elif what == 5:
            out.append(choose.bytes(1 + choose.below(4)).decode("latin-1"))
        elif what == 6:
            out += [words[at]] * (1 + choose.below(200))
        elif what == 7:
            out.append("\n")
        else:
            out.append(words[at])
            at += 1
    return "".join(out).encode("utf-8", "replace")


@cache
def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+|\s+|[^\w\s]", text))

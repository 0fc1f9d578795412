"""hvci.toml: what a team decided."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from answers import answer_or_sentence

from hvci.policy.config import FILE, parse_policy


def one(data: bytes) -> None:
    """The file is the input."""
    try:
        table = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return
    with answer_or_sentence():
        parse_policy(table, FILE)


def seeds() -> Iterator[bytes]:
    """All keys."""
    yield (
        b'target_os = ["10-1607"]\nprofile = "strict"\nundecided = "fail"\npaths = ["a"]\n'
        b'exclude = ["b"]\nsymbols = []\nbaseline = "x"\n[rules]\nexecute-pool-type = "note"\n'
        b'[[suppress]]\nrule = "execute-pool-type"\nreason = "r"\nexpires = 2027-01-01\n'
    )

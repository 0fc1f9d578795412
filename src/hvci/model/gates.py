"""The checks of Windows that can keep a driver from loading or stop it, and their signs.

Users take all of them for memory integrity. Knows words only, no log and no driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from hvci.model.facts import Confidence
from hvci.model.record import record


class Gate(StrEnum):
    """One check of Windows; the value is its id in outputs."""

    IMAGE = "image"
    RUN = "run"
    SIGNING = "signing"
    DRIVER_POLICY = "driver-policy"
    BLOCK_LIST = "block-list"
    COMPAT_DB = "compat-db"
    APP_CONTROL = "app-control"
    KERNEL_CFG = "kernel-cfg"


class Kind(StrEnum):
    """What a sign is."""

    EVENT = "event"
    STATUS = "status"
    ERROR = "error"
    BUGCHECK = "bugcheck"
    CODE = "code"
    POLICY = "policy"


class Effect(StrEnum):
    """What became of the driver."""

    REFUSED = "refused"
    AUDIT = "audit"
    """It was loaded, and would be refused."""
    STOPPED = "stopped"
    NOTE = "note"
    """Says something of another sign."""


@record
class GateInfo:
    """What a gate looks at and what helps."""

    gate: Gate
    title: str
    means: str
    todo: str
    evidence: frozenset[Confidence]
    source: str


@record
class Sign:
    """Something that Windows prints, and what it is a sign of."""

    kind: Kind
    id: int | str
    """A number; a GUID in lower case for policies."""
    gate: Gate | None
    """None where several checks show so."""
    effect: Effect
    title: str
    means: str
    evidence: frozenset[Confidence]
    source: str
    provider: str = ""
    when: str = ""

    @property
    def name(self) -> str:
        """As people write it."""
        match self.kind:
            case Kind.EVENT:
                return f"event {self.id} of {self.provider}"
            case Kind.CODE:
                return f"Device Manager code {self.id}"
            case Kind.ERROR:
                is_long = isinstance(self.id, int) and self.id > 0xFFFF
                return f"Windows error {f'0x{self.id:08X}' if is_long else self.id}"
            case Kind.POLICY:
                return f"policy {{{str(self.id).upper()}}}"
            case Kind.STATUS:
                return f"status 0x{self.id:08X}"
            case _:
                return f"bug check 0x{self.id:X}"


@record
class Gates:
    """All gates, their signs, and the names of the failure bitmap."""

    gates: Mapping[Gate, GateInfo]
    signs: tuple[Sign, ...]
    layouts: Mapping[str, str]
    """What Windows calls a failure of the image check -> the rule that looks at the same."""

    def find(self, kind: Kind, id_: int | str, provider: str = "") -> Sign | None:
        """The sign of that kind and id; of that provider, if one is given."""
        return next(
            (
                sign
                for sign in self.signs
                if (sign.kind, sign.id) == (kind, id_)
                and (not provider or same_provider(sign.provider, provider))
            ),
            None,
        )


def same_provider(one: str, other: str) -> bool:
    """Whether two spellings name one provider: Event Viewer leaves the prefix out at times."""
    return _bare(one) == _bare(other)


def _bare(provider: str) -> str:
    bare = provider.strip().lower().removeprefix("microsoft-windows-").replace(" ", "")
    return {"bugcheck": "wer-systemerrorreporting"}.get(bare, bare)

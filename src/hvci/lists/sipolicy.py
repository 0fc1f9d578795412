"""A policy of App Control (SiPolicy) as data: rules about files, signers, and what is denied.

Only the kernel's scenario counts: what other scenarios, or none, refer to decides nothing for a
driver. Knows neither form in which a policy is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hvci.lists.version import Version

KERNEL = 131
"""Value of the signing scenario for drivers."""
ALL = "*"


class RuleKind(StrEnum):
    """What a rule about files is for."""

    ALLOW = "Allow"
    DENY = "Deny"
    ATTRIBUTES = "FileAttrib"
    """Narrows a signer; alone it decides nothing."""


@dataclass(frozen=True, slots=True)
class FileRule:
    """What a file must be like."""

    kind: RuleKind
    id: str
    title: str = ""
    digest: bytes = b""
    names: Mapping[str, str] = field(default_factory=dict)
    """Strings of the version resource that must be equal, by their key there."""
    least: Version | None = None
    most: Version | None = None
    path: str = ""
    """A rule by path is for user mode only."""

    def takes(self, version: Version, *, deny: bool) -> bool:
        """Whether a version is meant.

        Between two bounds. With one bound Microsoft's text has it that an Allow with a minimum
        takes what is newer, and a Deny with a minimum what is older; a maximum the other way.
        """
        if self.least is not None and self.most is not None:
            return self.least <= version <= self.most
        if self.least is not None:
            return version <= self.least if deny else version >= self.least
        if self.most is not None:
            return version >= self.most if deny else version <= self.most
        return True


@dataclass(frozen=True, slots=True)
class SignerRule:
    """Whose signature is meant; every condition that is given must hold."""

    id: str
    title: str = ""
    root: bytes = b""
    """Hash of the signed part of a certificate in the chain."""
    well_known: int | None = None
    """Number of a well-known root instead."""
    ekus: tuple[bytes, ...] = ()
    """Contents of object identifiers that the signer's certificate must have."""
    issuer: str = ""
    publisher: str = ""
    oem: str = ""
    attributes: tuple[FileRule, ...] = ()
    """One of these must hold."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A signer that is allowed or denied, with the files that are excepted."""

    signer: SignerRule
    exceptions: tuple[FileRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What a policy says about drivers."""

    title: str
    version: str
    rules: tuple[FileRule, ...]
    """All rules about files, those that nothing refers to as well."""
    signers: tuple[SignerRule, ...]
    active: tuple[FileRule, ...] = ()
    """The rules about files that the kernel's scenario refers to."""
    denied: tuple[Choice, ...] = ()
    allowed: tuple[Choice, ...] = ()
    audit: bool = False
    """It only logs."""

    @property
    def size(self) -> int:
        """How many rules it declares."""
        return len(self.rules) + len(self.signers)

    @property
    def idle(self) -> int:
        """How many rules it declares that decide nothing about drivers."""
        rules = sum(rule.kind is not RuleKind.ATTRIBUTES for rule in self.rules)
        used = {choice.signer.id for choice in (*self.denied, *self.allowed)}
        return rules - len({rule.id for rule in self.active}) + len(self.signers) - len(used)

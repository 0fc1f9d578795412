"""Writes policies of App Control in both forms from one description, and databases of shims.

The binary writer knows the layout by itself: it shares nothing with the reader but this file's
description of a policy.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

KINDS = ("Deny", "Allow", "FileAttrib")
FILE_KEYS = ("FileName", "InternalName", "FileDescription", "ProductName", "FilePath")


@dataclass
class File:
    """A rule about files."""

    id: str
    kind: str = "Deny"
    hash: str = ""
    least: str = ""
    most: str = ""
    names: dict[str, str] = field(default_factory=dict)


@dataclass
class Signer:
    """A signer; `root` is the hash of a certificate or the number of a well-known root."""

    id: str
    root: str | int = ""
    ekus: tuple[str, ...] = ()
    issuer: str = ""
    publisher: str = ""
    oem: str = ""
    attributes: tuple[str, ...] = ()


@dataclass
class Policy:
    """What a policy says; by default everything is allowed that nothing denies."""

    files: tuple[File, ...] = ()
    signers: tuple[Signer, ...] = ()
    denied: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    excepted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    active: tuple[str, ...] | None = None
    """Rules that the scenario refers to; None for all that allow or deny."""
    scenario: int = 131
    audit: bool = False
    allow_all: bool = True
    version: str = "10.0.1.2"
    title: str = "Our policy"

    @property
    def rules(self):
        everything = File("ID_ALLOW_ALL", "Allow", names={"FileName": "*"})
        return (*self.files, everything) if self.allow_all else self.files

    @property
    def referred(self):
        if self.active is not None:
            return (*self.active, "ID_ALLOW_ALL") if self.allow_all else self.active
        return tuple(rule.id for rule in self.rules if rule.kind != "FileAttrib")

    @property
    def ekus(self):
        return sorted({eku for signer in self.signers for eku in signer.ekus})


# ---------------------------------------------------------------------- XML


def _attributes(**values):
    return "".join(f" {name}={quoteattr(value)}" for name, value in values.items() if value)


def _file_xml(rule):
    bounds = _attributes(MinimumFileVersion=rule.least, MaximumFileVersion=rule.most)
    names = _attributes(ID=rule.id, FriendlyName=f"about {rule.id}", Hash=rule.hash, **rule.names)
    return f"<{rule.kind}{names}{bounds}/>"


def _signer_xml(signer, policy):
    kind = "Wellknown" if isinstance(signer.root, int) else "TBS"
    value = f"{signer.root:02X}" if kind == "Wellknown" else signer.root
    parts = [f'<CertRoot Type="{kind}" Value="{value}"/>']
    parts += [f'<CertEKU ID="ID_EKU_{policy.ekus.index(eku)}"/>' for eku in signer.ekus]
    for name, text in (
        ("CertIssuer", signer.issuer),
        ("CertPublisher", signer.publisher),
        ("CertOemID", signer.oem),
    ):
        parts += [f"<{name} Value={quoteattr(text)}/>"] if text else []
    parts += [f'<FileAttribRef RuleID="{rule}"/>' for rule in signer.attributes]
    return f'<Signer ID="{signer.id}" Name="about {signer.id}">{"".join(parts)}</Signer>'


def _choices_xml(name, except_, attribute, signers, policy):
    if not signers:
        return ""
    listed = ""
    for signer in signers:
        inner = "".join(
            f'<{except_} {attribute}="{rule}"/>' for rule in policy.excepted.get(signer, ())
        )
        listed += f'<{name} SignerId="{signer}">{inner}</{name}>'
    return f"<{name}s>{listed}</{name}s>"


def to_xml(policy, head='<?xml version="1.0" encoding="utf-8"?>'):
    """The policy as Microsoft's tools write it."""
    options = ["Enabled:Unsigned System Integrity Policy"]
    options += ["Enabled:Audit Mode"] if policy.audit else []
    ekus = "".join(f'<EKU ID="ID_EKU_{n}" Value="{eku}"/>' for n, eku in enumerate(policy.ekus))
    refs = "".join(f'<FileRuleRef RuleID="{rule}"/>' for rule in policy.referred)
    product = (
        _choices_xml("AllowedSigner", "ExceptDenyRule", "DenyRuleID", policy.allowed, policy)
        + _choices_xml("DeniedSigner", "ExceptAllowRule", "AllowRuleID", policy.denied, policy)
        + f"<FileRulesRef>{refs}</FileRulesRef>"
    )
    return (
        f'{head}<SiPolicy xmlns="urn:schemas-microsoft-com:sipolicy">'
        f"<VersionEx>{policy.version}</VersionEx>"
        f"<Rules>{''.join(f'<Rule><Option>{each}</Option></Rule>' for each in options)}</Rules>"
        f"<EKUs>{ekus}</EKUs>"
        f"<FileRules>{''.join(map(_file_xml, policy.rules))}</FileRules>"
        f"<Signers>{''.join(_signer_xml(each, policy) for each in policy.signers)}</Signers>"
        f'<SigningScenarios><SigningScenario Value="{policy.scenario}" ID="S">'
        f"<ProductSigners>{product}</ProductSigners></SigningScenario></SigningScenarios>"
        '<Settings><Setting Provider="PolicyInfo" Key="Information" ValueName="Name">'
        f"<Value><String>{policy.title}</String></Value></Setting></Settings></SiPolicy>"
    ).encode()


# ---------------------------------------------------------------------- binary


def _u(number):
    return struct.pack("<I", number)


def _octets(data):
    return _u(len(data)) + data + bytes(-len(data) % 4)


def _text(text):
    return _octets(text.encode("utf-16-le")) + _u(0)


def _version(text):
    a, b, c, d = (int(part) for part in (text or "0.0.0.0").split("."))
    return struct.pack("<4H", d, c, b, a)


def _numbers(numbers):
    return _u(len(numbers)) + b"".join(map(_u, numbers))


def to_binary(policy, form=8):
    """The same policy in the binary form of a format number."""
    rules, signers = policy.rules, policy.signers
    at = {rule.id: n for n, rule in enumerate(rules)}
    signer_at = {signer.id: n for n, signer in enumerate(signers)}
    body = _u(0) + b"".join(_octets(bytes.fromhex(eku)) for eku in policy.ekus)
    for rule in rules:
        least = "65535.65535.65535.65535" if rule.hash else rule.least
        body += _u(KINDS.index(rule.kind)) + _text(rule.names.get("FileName", ""))
        body += _version(least) + _octets(bytes.fromhex(rule.hash))
    for signer in signers:
        known = isinstance(signer.root, int)
        body += _u(1) + _u(signer.root) if known else _u(0) + _octets(bytes.fromhex(signer.root))
        body += _numbers([policy.ekus.index(eku) for eku in signer.ekus])
        body += _text(signer.issuer) + _text(signer.publisher) + _text(signer.oem)
        body += _numbers([at[rule] for rule in signer.attributes])
    body += _u(0) * 2

    def choices(names):
        out = _u(len(names))
        for name in names:
            out += _u(signer_at[name])
            out += _numbers([at[rule] for rule in policy.excepted.get(name, ())])
        return out

    nothing = _u(0) * 3
    body += _u(policy.scenario) + _u(0) + _u(0)
    body += choices(policy.allowed) + choices(policy.denied)
    body += _numbers([at[rule] for rule in policy.referred]) + nothing + nothing
    body += _u(0)  # HvciOptions
    settings = [
        ("Number", 1, _u(7)),
        ("Bytes", 2, _octets(b"12345")),
        ("Name", 3, _text(policy.title)),
    ]
    body += _u(len(settings))
    for name, kind, value in settings:
        body += _text("PolicyInfo") + _text("Information") + _text(name) + _u(kind) + value
    if form >= 3:
        body += _u(3) + b"".join(_version(rule.most) + _u(0) for rule in rules)
        body += bytes(8 * len(signers))
    if form >= 4:
        body += _u(4)
        for rule in rules:
            for key in ("InternalName", "FileDescription", "ProductName"):
                body += _text(rule.names.get(key, ""))
    if form >= 5:
        body += _u(5) + (_text("") + bytes(8)) * len(rules)
    if form >= 6:
        body += _u(6) + bytes(32) + _u(0)
    if form >= 7:
        body += _u(7) + b"".join(_text(rule.names.get("FilePath", "")) for rule in rules)
    if form >= 8:
        body += _u(8) + _u(0)
    body += _u(form + 1)
    options = 0x0001_0000 if policy.audit else 0
    counts = (len(policy.ekus), len(rules), len(signers), 1)
    head = _u(form) + bytes(32) + _u(options) + b"".join(map(_u, counts)) + _version(policy.version)
    return head + _u(len(head) + 4) + body

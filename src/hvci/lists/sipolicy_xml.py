"""Reads a policy of App Control in its XML form.

Entities and document types are refused, so that no small file becomes a large one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from hvci.errors import InputError
from hvci.lists.sipolicy import KERNEL, Choice, FileRule, Policy, RuleKind, SignerRule
from hvci.lists.version import Version

T = TypeVar("T")
_SPACE = "{urn:schemas-microsoft-com:sipolicy}"
_NAMES = {
    "FileName": "OriginalFilename",
    "InternalName": "InternalName",
    "FileDescription": "FileDescription",
    "ProductName": "ProductName",
}


def read_xml(data: bytes) -> Policy:
    """Read a policy; raise `InputError` that says what is wrong in it."""
    try:
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise InputError(f"not XML that can be read: {str(error)[:200]}") from error
    if root.tag != f"{_SPACE}SiPolicy":
        raise InputError(f"not an App Control policy: its root is {root.tag[:100]}")
    return _Reader(root).policy()


class _Reader:
    """One document; references are resolved by id."""

    def __init__(self, root: Element) -> None:
        self._root = root
        self._rules = {rule.id: rule for rule in self._file_rules()}
        self._ekus = {
            each.get("ID", ""): _hex(each.get("Value", ""), "EKU")[2:]
            for each in _all(root, "EKUs", "EKU")
        }
        self._signers = {signer.id: signer for signer in map(self._signer, self._signer_elements())}

    def policy(self) -> Policy:
        options = [each.text or "" for each in self._root.iter(f"{_SPACE}Option")]
        active: list[FileRule] = []
        denied: list[Choice] = []
        allowed: list[Choice] = []
        for scenario in _all(self._root, "SigningScenarios", "SigningScenario"):
            if scenario.get("Value", "").strip() == str(KERNEL):
                active += self._active(scenario)
                denied += self._choices(scenario, "DeniedSigner", "ExceptAllowRule", "AllowRuleID")
                allowed += self._choices(scenario, "AllowedSigner", "ExceptDenyRule", "DenyRuleID")
        return Policy(
            self._title(),
            (self._root.findtext(f"{_SPACE}VersionEx") or "").strip(),
            tuple(self._rules.values()),
            tuple(self._signers.values()),
            tuple(active),
            tuple(denied),
            tuple(allowed),
            any(option.strip() == "Enabled:Audit Mode" for option in options),
        )

    def _title(self) -> str:
        """The name that a policy can have in its settings."""
        for setting in self._root.iter(f"{_SPACE}Setting"):
            if setting.get("ValueName") == "Name":
                return (setting.findtext(f"{_SPACE}Value/{_SPACE}String") or "").strip()
        return ""

    def _file_rules(self) -> Iterator[FileRule]:
        for element in self._root.findall(f"{_SPACE}FileRules/*"):
            kind = element.tag.removeprefix(_SPACE)
            if kind not in set(RuleKind):
                continue  # rules about packages and COM objects say nothing of drivers
            names = {key: element.get(name, "") for name, key in _NAMES.items()}
            yield FileRule(
                RuleKind(kind),
                element.get("ID", ""),
                element.get("FriendlyName", ""),
                _hex(element.get("Hash", ""), "Hash"),
                {key: name for key, name in names.items() if name},
                _version(element.get("MinimumFileVersion")),
                _version(element.get("MaximumFileVersion")),
                element.get("FilePath", ""),
            )

    def _signer_elements(self) -> Iterator[Element]:
        return _all(self._root, "Signers", "Signer")

    def _signer(self, element: Element) -> SignerRule:
        root = element.find(f"{_SPACE}CertRoot")
        kind = root.get("Type", "") if root is not None else ""
        value = root.get("Value", "") if root is not None else ""
        known = kind.lower() == "wellknown"
        return SignerRule(
            element.get("ID", ""),
            element.get("Name", ""),
            b"" if known else _hex(value, "CertRoot"),
            _number(value) if known else None,
            tuple(
                self._referred(self._ekus, each.get("ID", ""))
                for each in element.findall(f"{_SPACE}CertEKU")
            ),
            _value(element, "CertIssuer"),
            _value(element, "CertPublisher"),
            _value(element, "CertOemID"),
            tuple(
                self._referred(self._rules, each.get("RuleID", ""))
                for each in element.findall(f"{_SPACE}FileAttribRef")
            ),
        )

    def _active(self, scenario: Element) -> Iterator[FileRule]:
        for each in scenario.findall(f"{_SPACE}ProductSigners/{_SPACE}FileRulesRef/*"):
            yield self._referred(self._rules, each.get("RuleID", ""))

    def _choices(self, scenario: Element, name: str, except_: str, id_: str) -> Iterator[Choice]:
        path = f"{_SPACE}ProductSigners/{_SPACE}{name}s/{_SPACE}{name}"
        for each in scenario.findall(path):
            exceptions = tuple(
                self._referred(self._rules, one.get(id_, ""))
                for one in each.findall(f"{_SPACE}{except_}")
            )
            yield Choice(self._referred(self._signers, each.get("SignerId", "")), exceptions)

    @staticmethod
    def _referred(table: dict[str, T], id_: str) -> T:
        try:
            return table[id_]
        except KeyError as error:
            raise InputError(f"it refers to {id_[:100]!r}, which it does not declare") from error


def _all(root: Element, group: str, name: str) -> Iterator[Element]:
    yield from root.findall(f"{_SPACE}{group}/{_SPACE}{name}")


def _value(element: Element, name: str) -> str:
    found = element.find(f"{_SPACE}{name}")
    return "" if found is None else found.get("Value", "")


def _hex(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InputError(f"{what} {text[:80]!r} is not hexadecimal") from error


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError as error:
        raise InputError(f"no number of a well-known root: {text[:80]!r}") from error


def _version(text: str | None) -> Version | None:
    """Four numbers; some policies write them with zeros in front."""
    if text is None:
        return None
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"no version: {text[:80]!r}")
    a, b, c, d = (min(int(part), 0xFFFF) for part in parts)
    return a, b, c, d

"""Asks a policy of App Control about a driver as the kernel does, and names the rule that decides.

Explicit denials come first, whatever allows (Microsoft, "File rule precedence order"). Signer rules
work with RSA only, and rules by path not for drivers, as the same page says.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.lists.sipolicy import ALL, Choice, FileRule, Policy, RuleKind, SignerRule
from hvci.lists.subject import Subject
from hvci.model.signature import ListAnswer, ListKind, Match
from hvci.signing.pkcs7 import SignedData

_ROOTS = {
    0x03: "Microsoft Authenticode(tm) Root Authority",
    0x04: "Microsoft Root Authority",
    0x05: "Microsoft Root Certificate Authority",
    0x06: "Microsoft Root Certificate Authority 2010",
    0x07: "Microsoft Root Certificate Authority 2011",
    0x08: "Microsoft Code Verification Root",
}
"""Well-known roots by number: no signature encloses them, so they are known by name only."""
_MOST_MATCHES = 16


class AppControl:
    """One policy, made ready for many drivers."""

    def __init__(self, path: str, policy: Policy) -> None:
        self.path, self.policy = path, policy
        self._by_digest: dict[bytes, FileRule] = {}
        self._deny: list[FileRule] = []
        for rule in policy.active:
            if rule.kind is RuleKind.DENY and rule.digest:
                self._by_digest.setdefault(rule.digest, rule)
            elif rule.kind is RuleKind.DENY:
                self._deny.append(rule)
        self._by_root: dict[bytes, list[Choice]] = {}
        for choice in policy.denied:
            self._by_root.setdefault(choice.signer.root, []).append(choice)

    def ask(self, subject: Subject) -> ListAnswer:
        """What the policy says of a driver."""
        matches = tuple(self._matches(subject))[:_MOST_MATCHES]
        policy = self.policy
        title = f"{policy.title or 'App Control policy'} {policy.version}".strip()
        return ListAnswer(
            self.path,
            ListKind.POLICY,
            title,
            policy.size,
            matches,
            "" if matches else self._doubt(subject),
            "; ".join(self._notes(subject, bool(matches))),
        )

    def _matches(self, subject: Subject) -> Iterator[Match]:
        for digest, what in subject.digests.items():
            if (rule := self._by_digest.get(digest)) is not None:
                yield Match(rule.id, rule.title, what)
        for rule in self._deny:
            if _holds(rule, subject, deny=True):
                yield Match(rule.id, rule.title, _about(rule, subject))
        for message in subject.messages:
            yield from self._by_signer(message, subject)

    def _by_signer(self, message: SignedData, subject: Subject) -> Iterator[Match]:
        leaf = message.leaf
        chain = ((leaf,) if leaf else ()) + tuple(message.issuers)
        roots = sorted({each.tbs_hash for each in chain if each.tbs_hash})
        choices = [c for root in roots for c in self._by_root.get(bytes.fromhex(root), ())]
        choices += [c for c in self._by_root.get(b"", ()) if _known_root(c.signer, message)]
        for choice in choices:
            signer = choice.signer
            if _signs(signer, message) and not _excepted(choice, subject, deny=True):
                attribute = _attribute(signer, subject, deny=True)
                if attribute is not None:
                    about = _about(attribute, subject) if signer.attributes else ""
                    by = f"signed by {leaf.name if leaf else ''}"
                    yield Match(signer.id, signer.title, f"{by}, {about}" if about else by)

    def _doubt(self, subject: Subject) -> str:
        """Denials that may be meant, where the signature or the root is not known."""
        if not (self.policy.active or self.policy.denied or self.policy.allowed):
            return "no rule of it is about drivers: is it the policy that was meant?"
        if not (self._deny or self._by_digest or self.policy.denied):
            return "it allows drivers and denies none: is it the block list that was meant?"
        if not subject.messages:
            for choice in self.policy.denied:
                attributes = choice.signer.attributes
                found = attributes and _attribute(choice.signer, subject, deny=True)
                if found:
                    about = _about(found, subject)
                    return (
                        f"{choice.signer.id} denies {about} of a signer, and no signature was "
                        "found; give the catalog that signs it (--catalog)"
                    )
        unknown = sorted(
            choice.signer.id
            for choice in self._by_root.get(b"", ())
            if choice.signer.well_known not in _ROOTS and subject.messages
        )
        if unknown:
            return f"{unknown[0]} denies by a well-known root that hvci cannot tell"
        return ""

    def _notes(self, subject: Subject, denied: bool) -> Iterator[str]:
        if denied and self.policy.audit:
            yield "the policy only logs (audit mode)"
        if not denied and not self._allows(subject):
            yield "no rule of the policy allows it: alone, the policy would refuse it"
        if not denied:
            yield from self._inert(subject)

    def _inert(self, subject: Subject) -> Iterator[str]:
        """Denials that are declared for the driver and that nothing refers to."""
        active = {rule.id for rule in self.policy.active}
        for rule in self.policy.rules:
            if rule.kind is RuleKind.DENY and rule.id not in active:
                fits = rule.digest in subject.digests if rule.digest else False
                if fits or (not rule.digest and _holds(rule, subject, deny=True)):
                    yield f"{rule.id} names it, but nothing refers to that rule"
                    return

    def _allows(self, subject: Subject) -> bool:
        """Whether a rule allows the driver."""
        for rule in self.policy.active:
            if rule.kind is RuleKind.ALLOW:
                by_hash = rule.digest in subject.digests
                if by_hash if rule.digest else _holds(rule, subject, deny=False):
                    return True
        return any(
            _allowed_by(choice, message, subject)
            for choice in self.policy.allowed
            for message in subject.messages
        )


def _allowed_by(choice: Choice, message: SignedData, subject: Subject) -> bool:
    signer, leaf = choice.signer, message.leaf
    certificates = ((leaf,) if leaf else ()) + tuple(message.issuers)
    rooted = any(bytes.fromhex(each.tbs_hash) == signer.root for each in certificates)
    if not (rooted if signer.root else _known_root(signer, message)):
        return False
    fits = _signs(signer, message) and not _excepted(choice, subject, deny=False)
    return fits and _attribute(signer, subject, deny=False) is not None


def _known_root(signer: SignerRule, message: SignedData) -> bool:
    """Whether the chain ends at a well-known root, by its name."""
    name = _ROOTS.get(signer.well_known or 0)
    leaf = message.leaf
    chain = ((leaf,) if leaf else ()) + tuple(message.issuers)
    return name is not None and any(name in (each.name, each.issuer_name) for each in chain)


def _signs(signer: SignerRule, message: SignedData) -> bool:
    """Whether a signature fits a signer rule, its root apart."""
    leaf = message.leaf
    if leaf is None or not leaf.is_rsa:
        return False
    if signer.publisher and leaf.name.lower() != signer.publisher.lower():
        return False
    if signer.issuer and leaf.issuer_name.lower() != signer.issuer.lower():
        return False
    if signer.oem and message.submitter.lower() != signer.oem.lower():
        return False
    return all(usage in leaf.eku_contents for usage in signer.ekus)


def _attribute(signer: SignerRule, subject: Subject, *, deny: bool) -> FileRule | None:
    """The file attribute of a signer rule that holds; one that holds for all where it has none."""
    if not signer.attributes:
        return FileRule(RuleKind.ATTRIBUTES, "")
    return next((one for one in signer.attributes if _holds(one, subject, deny=deny)), None)


def _excepted(choice: Choice, subject: Subject, *, deny: bool) -> bool:
    """Whether a file is excepted from what is said of its signer."""
    return any(
        rule.digest in subject.digests if rule.digest else _holds(rule, subject, deny=not deny)
        for rule in choice.exceptions
    )


def _holds(rule: FileRule, subject: Subject, *, deny: bool) -> bool:
    """Whether the names and the version of a rule fit the driver's resource."""
    if rule.path and not rule.names:
        return False
    info = subject.version
    for key, wanted in rule.names.items():
        if wanted != ALL and info.names.get(key, "").lower() != wanted.lower():
            return False
    return rule.takes(info.file or (0, 0, 0, 0), deny=deny)


def _about(rule: FileRule, subject: Subject) -> str:
    """What of the driver a rule about files fits."""
    parts = [f"{key} {subject.version.names.get(key, '')}".strip() for key in rule.names]
    if rule.least is not None or rule.most is not None:
        parts.append("version " + ".".join(map(str, subject.version.file or (0, 0, 0, 0))))
    return ", ".join(parts)

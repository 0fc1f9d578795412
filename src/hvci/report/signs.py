"""Reference pages of gates and of what Windows prints when one refuses a driver.

Knows the rows of the catalogue; the command line and the documentation print these pages.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.catalog import Family, ddis, families, value_rules
from hvci.catalog.gates import gates
from hvci.model.gates import Effect, Gate, GateInfo, Kind, Sign
from hvci.report.glossary import TERMS, Term

Facts = tuple[tuple[str, str], ...]
_EFFECTS = {
    Effect.REFUSED: "the driver did not load",
    Effect.AUDIT: "only reported: the driver was loaded, and would be refused",
    Effect.STOPPED: "the computer stopped",
    Effect.NOTE: "says something of other signs or of the computer",
}
_KINDS = {
    "event": Kind.EVENT,
    "status": Kind.STATUS,
    "ntstatus": Kind.STATUS,
    "error": Kind.ERROR,
    "code": Kind.CODE,
    "problem": Kind.CODE,
    "policy": Kind.POLICY,
}
_ALSO = {
    Gate.DRIVER_POLICY: ("driver policy", "microsoft windows driver policy"),
    Gate.BLOCK_LIST: ("blocklist", "driver block list", "vulnerable driver blocklist"),
    Gate.COMPAT_DB: ("drvmain.sdb", "drvpatch.sdb", "compatibility database"),
    Gate.APP_CONTROL: ("wdac", "smart app control", "app control for business"),
    Gate.KERNEL_CFG: ("kernel control flow guard",),
}
"""What else people call a gate."""
_PLAIN = (Kind.EVENT, Kind.ERROR, Kind.CODE)
"""What a decimal number alone can be, the likeliest first."""


def explain_sign(words: tuple[str, ...]) -> tuple[str, Facts] | None:
    """Title and facts for an event, status, error, code, policy, gate or term; None for others."""
    text = " ".join(words).strip()
    words = tuple(text.split()) or words
    if found := _by_word(text):
        return found
    kind = _KINDS.get(words[0].lower())
    if kind is not None and len(words) > 1:
        sign = _sign(kind, words[-1])
        return _page(sign) if sign else None
    if len(words) > 1:
        return None
    for kind in (Kind.POLICY, Kind.STATUS, *_PLAIN):
        if sign := _sign(kind, words[0]):
            return _page(sign)
    return None


def _by_word(text: str) -> tuple[str, Facts] | None:
    """What has a name: a gate, a sign by its symbolic name, a constant, a term."""
    folded = text.lower()
    if folded in ("gate", "gates"):
        return "gates: the checks of Windows that can refuse a driver", tuple(_all())
    bare = folded.removeprefix("gate ").replace("-", " ")
    for info in gates().gates.values():
        names = {info.gate.value.replace("-", " "), info.title.lower(), *_ALSO.get(info.gate, ())}
        if bare in names:
            return _gate_page(info)
    for sign in gates().signs:
        if sign.kind is not Kind.BUGCHECK and folded == sign.title.lower():
            return _page(sign)
    if term := TERMS.get(folded) or TERMS.get(folded.replace("-", " ")):
        return _term_page(term)
    return _constant(text)


def _all() -> Iterator[tuple[str, str]]:
    yield from ((info.gate.value, f"{info.title}. {info.means}") for info in gates().gates.values())


def _gate_page(info: GateInfo) -> tuple[str, Facts]:
    shown = [sign.name for sign in gates().signs if sign.gate is info.gate]
    return f"gate {info.gate}: {info.title}", (
        ("Means", info.means),
        ("Do", info.todo),
        ("Shows as", ", ".join(shown)),
        ("Evidence", ", ".join(sorted(info.evidence))),
        ("Page", info.source),
    )


def _sign(kind: Kind, word: str) -> Sign | None:
    """The sign of that kind; numbers as people write them: decimal, or hexadecimal with 0x."""
    bare = word.strip("{}()").lower()
    if kind is Kind.POLICY:
        return gates().find(kind, bare)
    try:
        number = int(bare, 0)
    except ValueError:
        return None
    if kind is Kind.STATUS:
        number &= 0xFFFF_FFFF
    return gates().find(kind, number)


def _page(sign: Sign) -> tuple[str, Facts]:
    info = gates().gates.get(sign.gate) if sign.gate else None
    gate = f"{info.title} ({info.gate})" if info else "several, or none; see Means"
    when = f" (when {sign.when})" if sign.when else ""
    facts = [("Gate", gate), ("Effect", _EFFECTS[sign.effect]), ("Means", sign.means)]
    if info:
        facts += [("Gate means", info.means), ("Do", info.todo)]
    facts += [("Evidence", ", ".join(sorted(sign.evidence))), ("Source", sign.source)]
    return f"{sign.name}{when}: {sign.title}", tuple(facts)


def _term_page(term: Term) -> tuple[str, Facts]:
    return f"{term.name}: {term.title}", (
        ("Means", term.means),
        ("Do", term.todo),
        ("Page", term.source),
    )


def _constant(text: str) -> tuple[str, Facts] | None:
    """A constant that an argument can have, such as NonPagedPoolNx."""
    for family in families().values():
        for name, value in family.constants.items():
            if name.lower() == text.lower():
                about = f"{name}: a value of {family.name.replace('_', ' ')}"
                return about, tuple(_constant_facts(family, value))
    return None


def _constant_facts(family: Family, value: int) -> Iterator[tuple[str, str]]:
    judged = (rule for rule in value_rules().values() if rule.judged_by)
    rules = [rule for rule in judged if rule.family is family]
    answers = {rule.executable.holds(value) for rule in rules}
    executable = (
        "depends on the routine" if len(answers) > 1 else "yes" if True in answers else "no"
    )
    yield "Value", f"{value:#x}"
    yield "Executable", executable
    if safer := family.safer_for(value):
        yield "Instead", safer
    yield from (("Rule", rule.text) for rule in rules)
    if using := sorted(ddi.name for ddi in ddis().values() if ddi.rule in rules):
        yield "Used by", ", ".join(using)

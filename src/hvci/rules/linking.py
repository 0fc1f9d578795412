"""What linker settings of a project make of an image's sections.

Knows the options /SECTION, /MERGE and /ALIGN, GNU's words for them, and pragmas; the rules in
`image` say what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.model import PAGE_SIZE, BuildSetting, Confidence, Evidence, Finding, Origin, Outcome

_CODE = (".text", "text", ".code", "page", "init")
_IMPORTS = (".rdata", ".idata")
_WRITABLE = (".data", ".bss", "pagedata", ".pagedata")
DROP_RIGHTS = "Give the section either E or W, not both."
OWN_SECTION = "Give code and data sections of different names, and check the built .sys."
_MIXED = (
    ("data_seg", (".text", "page"), "data that is written beside the code"),
    ("code_seg", _WRITABLE, "code beside the data that is written"),
)
"""Pragmas, the sections that they should not name, and what these get."""
DROP_OMAGIC = "Leave the option out: the linker keeps code and data apart by itself."
DROP_MERGE = "Remove the /MERGE option: leave code and data sections of their own."


def _is_code(section: str) -> bool:
    return section.lower() in _CODE or (
        section.lower().startswith("page") and section.lower() not in ("pagedata", "pageconst")
    )


def _finding(setting: BuildSetting, outcome: Outcome, what: str, fix: str) -> Finding:
    where = f" in {setting.configuration}" if setting.configuration else ""
    said = f"{setting.name}{':' * bool(setting.value)}{setting.value}"
    message = f"{said}{where}: {what}"
    return Finding(
        outcome, message, setting.site, Origin.SOURCE, Confidence.INFERRED, fix if fix else ""
    )


def _rights(setting: BuildSetting) -> tuple[str, set[str]]:
    """The section's name and the rights that a /SECTION value gives it."""
    name, _, rest = setting.value.strip('"').partition(",")
    letters = rest.upper().partition(",")[0]
    given, negative = set(), False
    for letter in letters:
        if letter == "!":
            negative = True
        elif not negative:
            given.add(letter)
    return name, given


def _merge(setting: BuildSetting) -> tuple[str, str]:
    source, _, target = setting.value.strip('"').partition("=")
    return source, target


def _named(evidence: Evidence, name: str) -> Iterator[BuildSetting]:
    """The settings of a name; equal ones of several configurations once."""
    seen: set[tuple[str, str]] = set()
    for setting in evidence.settings:
        key = (setting.value.lower(), str(setting.site))
        if setting.name == name and key not in seen:
            seen.add(key)
            yield setting


def _narrowed(evidence: Evidence, merge: BuildSetting) -> bool:
    """Whether the same build also says that the merged section is not both E and W."""
    _, target = _merge(merge)
    for setting in evidence.settings:
        if setting.name == "/SECTION" and setting.configuration == merge.configuration:
            name, rights = _rights(setting)
            if name.lower() == target.lower() and not {"E", "W"} <= rights:
                return True
    return False


def _plain(section: str) -> str:
    """The section that the linker makes: what stands behind a `$` only sorts."""
    return section.partition("$")[0].lower()


def _sections(evidence: Evidence, kind: str) -> set[str]:
    """The sections that something puts code or data into."""
    return {_plain(one.value) for one in evidence.settings if one.name == kind}


def write_sections(evidence: Evidence) -> Iterator[Finding]:
    """Settings that make a section both executable and writable."""
    for setting in _named(evidence, "/SECTION"):
        name, rights = _rights(setting)
        if {"E", "W"} <= rights:
            init = name.upper() == "INIT"
            outcome = Outcome.NOTE if init else Outcome.FAIL
            what = f"section {name} is executable and writable"
            what += "; Windows removes the write right from INIT at load" if init else ""
            yield _finding(setting, outcome, what, "" if init else DROP_RIGHTS)
    for setting in _named(evidence, "--omagic"):
        what = "section .text is executable and writable"
        yield _finding(setting, Outcome.FAIL, what, DROP_OMAGIC)
    kept = {kind: _sections(evidence, kind) for kind, _, _ in _MIXED}
    for name, others, what in _MIXED:
        (other,) = (kept[kind] for kind in kept if kind != name)
        for setting in _named(evidence, name):
            section = _plain(setting.value)
            if section in others or (section in other and section != "init"):
                what_ = f"section {setting.value} gets {what}: its rights are the linker's choice"
                yield _finding(setting, Outcome.UNDECIDED, what_, OWN_SECTION)
    for setting in _named(evidence, "/MERGE"):
        pair = [_plain(one) for one in (*_merge(setting), _end(evidence, setting))]
        has_code = any(_is_code(one) or one in kept["code_seg"] for one in pair)
        joins = has_code and any(one in _WRITABLE or one in kept["data_seg"] for one in pair)
        if joins and not _narrowed(evidence, setting):
            what = f"section {pair[1]} holds code and writable data"
            yield _finding(setting, Outcome.FAIL, what, DROP_MERGE)


def _end(evidence: Evidence, merge: BuildSetting) -> str:
    """The section into which a merge leads in the end, as one that is merged itself goes on."""
    onward = {
        source.lower(): target
        for one in evidence.settings
        if one.name == "/MERGE" and one.configuration == merge.configuration
        for source, target in (_merge(one),)
    }
    _, found = _merge(merge)
    for _ in onward:
        found = onward.get(found.lower(), found)
    return found


def imports_in_code(evidence: Evidence) -> Iterator[Finding]:
    """Settings that put the import address table into a section of code."""
    for setting in _named(evidence, "code_seg"):
        if _plain(setting.value) in _IMPORTS:
            what = f"section {setting.value} gets code beside the import address table"
            yield _finding(setting, Outcome.UNDECIDED, what, OWN_SECTION)
    for setting in _named(evidence, "/MERGE"):
        source, target = _merge(setting)[0], _end(evidence, setting)
        if source.lower() in _IMPORTS and _is_code(target):
            what = f"the import address table goes to the executable section {target}"
            yield _finding(setting, Outcome.FAIL, what, DROP_MERGE)


def small_alignments(evidence: Evidence) -> Iterator[Finding]:
    """Settings that align sections to less than a page."""
    for setting in (*_named(evidence, "/ALIGN"), *_named(evidence, "--section-alignment")):
        try:
            alignment = int(setting.value, 0)
        except ValueError:
            continue
        if alignment % PAGE_SIZE:
            what = f"sections are aligned to {alignment:#x}, not to a multiple of 0x1000"
            yield _finding(setting, Outcome.FAIL, what, "Use 0x1000, or leave the option out.")

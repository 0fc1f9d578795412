"""Run-time checks: which way a condition goes on the Windows versions that are aimed at.

Knows the routines and fields that tell the Windows version; knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hvci.model import TARGETS, WindowsVersion
from hvci.source.preprocess.conditions import VERSIONS, Setting, Truth, holds
from hvci.source.preprocess.tree import File, Function, ancestors, is_same, text_of
from hvci.source.values.lookups import Lookups
from hvci.source.values.versions.kernels import Versions
from hvci.source.values.versions.telling import Exit

if TYPE_CHECKING:
    from tree_sitter import Node

_AVAILABLE = re.compile(rb"\bRtlIsNtDdiVersionAvailable\s*\(\s*NTDDI_(\w+)\s*\)")
_WDM_AVAILABLE = re.compile(rb"\bIoIsWdmVersionAvailable\s*\([^()]*\)")
_ANY_CALL = re.compile(rb"\b\w+\s*\([^()]*\)")
_MEMBER = re.compile(rb"\b\w+\s*(?:\.|->)\s*")
_ABOUT_VERSION = re.compile(
    rb"(?i)osver|version|win(?:dows)?_?(?:7|8|81|10)|ntddi|ntbuild|BuildNumber|OrGreater|OrLater"
)
_EXITS = ("return_statement", "goto_statement", "break_statement", "continue_statement")


def version_routine(call: bytes, target: WindowsVersion) -> Truth:
    """What a routine that asks for a Windows version returns; None when it asks for none."""
    if match := _AVAILABLE.match(call):
        wanted = VERSIONS.get(match[1].decode())
        return True if wanted is not None and wanted <= target else None
    return True if _WDM_AVAILABLE.match(call) else None


def is_about_version(condition: bytes) -> bool:
    """Whether a condition looks at the Windows version."""
    return _ABOUT_VERSION.search(condition) is not None


def condition_holds(condition: bytes, target: WindowsVersion) -> Truth:
    """Which way a condition about the Windows version goes on the target and later."""
    if not is_about_version(condition):
        return None

    def answer(match: re.Match[bytes]) -> bytes:
        return b" 1 " if version_routine(match.group(), target) else b" unknown_ "

    text = _ANY_CALL.sub(answer, _MEMBER.sub(b"", condition))
    fields = {"dwMajorVersion": 10, "dwMinorVersion": 0, "MajorVersion": 10, "MinorVersion": 0}
    return holds("if", text.decode("latin-1"), Setting(fields, frozenset()))


class Guards(NamedTuple):
    """What tells the way that a condition goes."""

    known: Lookups
    target: WindowsVersion
    versions: Versions
    file: File
    function: Function | None


def dead(node: Node, by: Guards) -> str:
    """Why a call cannot run on the target and later; empty when it may."""
    below = node
    for above in ancestors(node):
        if above.type in ("if_statement", "conditional_expression"):
            reason = _dead_branch(above, below, by)
        elif above.type == "compound_statement":
            reason = _behind_exit(above, below, by)
        else:
            reason = ""
        if reason:
            return reason
        if above.type == "function_definition":
            break
        below = above
    return ""


def _dead_branch(above: Node, below: Node, by: Guards) -> str:
    condition = above.child_by_field_name("condition")
    if condition is None or is_same(condition, below):
        return ""
    wanted = is_same(above.child_by_field_name("consequence"), below)
    truth, why = _truth(condition, by)
    return why if truth is not None and truth is not wanted else ""


def _behind_exit(block: Node, below: Node, by: Guards) -> str:
    """Whether an earlier `if` of the same block always leaves it."""
    around = (block.start_byte, block.end_byte)
    earlier = (one for one in _exits(by) if one.start < below.start_byte and one.block == around)
    return next((why for one in earlier if (why := _always(one, by))), "")


def _always(one: Exit, by: Guards) -> str:
    """Why an exit is always taken; empty where it may not be."""
    assert by.function is not None
    known, key = by.versions.always, (by.function, one.start)
    if key not in known:
        truth, why = _truth(one.condition, by)
        known[key] = why if truth is True else ""
    return known[key]


def _exits(by: Guards) -> list[Exit]:
    """Each `if` of a function that leaves its block, worked out once."""
    if by.function is None:
        return []
    known = by.versions.exits
    if by.function not in known:
        known[by.function] = list(_leaving(by.function))
    return known[by.function]


def _leaving(function: Function) -> Iterator[Exit]:
    for statement in function.nodes("if_statement"):
        condition, block = statement.child_by_field_name("condition"), statement.parent
        if condition is not None and block is not None and _leaves(statement):
            yield Exit(condition, statement.start_byte, (block.start_byte, block.end_byte))


def _leaves(statement: Node) -> bool:
    body = statement.child_by_field_name("consequence")
    if body is not None and body.type == "compound_statement" and body.named_children:
        body = body.named_children[-1]
    return body is not None and body.type in _EXITS


def _bare(text: bytes) -> bytes:
    """A condition without the parentheses around all of it."""
    text = text.strip()
    if text[:1] != b"(":
        return text
    depth = 0
    for at, byte in enumerate(text):
        depth += (byte == ord("(")) - (byte == ord(")"))
        if depth == 0 and at < len(text) - 1:
            return text
    return text[1:-1].strip()


def _truth(condition: Node, by: Guards) -> tuple[Truth, str]:
    text, target = _bare(text_of(condition)), max(by.target, TARGETS[0])
    truth = by.versions.truth(condition, by.file, by.function)
    if truth is None:
        truth = condition_holds(text, target)
    if truth is not None:
        return truth, f"the check of the Windows version goes the other way on {target.label}"
    if not by.known.names:
        return None, ""
    match = re.fullmatch(
        rb"(!?)\s*(?:\w+\s*(?:\.|->)\s*)*(\w+)\s*(?:(==|!=)\s*(?:NULL|nullptr|0))?", text
    )
    routine = by.known.always_found(match[2], target) if match else ""
    if match is None or not routine:
        return None, ""
    present = bool(match[1]) == (match[3] == b"==")
    return present, f"{routine} is always found on {target.label}, so this fallback never runs"

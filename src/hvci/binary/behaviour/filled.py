"""Memory that a driver fills with code: whether it may execute, and whether a call may go there.

Asks where pointers were made, in callers too, and which calls nothing explains. Knows nothing of
what is written.
"""

from __future__ import annotations

from hvci.binary.behaviour import names
from hvci.binary.behaviour.generated import BACK, RULE, allocator, may_execute
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import Root, roots
from hvci.binary.flow.atoms import Kind
from hvci.binary.form.code import IMAGE_BASE, NO_REGISTER, Expr, Flow, Function, Load, Reg
from hvci.model import Limit, Origin


def memory(scene: Scene, place: Place, expr: Expr) -> str | None:
    """The memory that a pointer goes to, in words; None when it is none that may execute.

    Callers are asked what they pass.
    """
    found = roots(scene, *place, expr)
    scene.flow.begin()
    atoms = frozenset(root.atom for root in found) | scene.flow.evaluate(*place, expr, 0)
    held = scene.flow.interprocedural.resolve(atoms)
    for root in sorted(found | {Root(atom, True) for atom in held}):
        made = allocator(scene, root)
        if made is not None and may_execute(scene, made.name, made.rva):
            return f"{names.memory_of(made.name)} of {made.name}"
    return None


def limit(scene: Scene, place: Place | None, reason: str) -> None:
    """Weaken the rule, where a call could lead to what was written."""
    called = call(scene)
    if called is None:
        return
    if place is None:
        scene.limits.append(Limit(Origin.CALLSITE, (RULE,), reason, None))
        return
    function, i = place
    reason += f", and which memory the call through a pointer at {called:#x} goes to is not known"
    site = scene.analysis.site(function.rvas[i], function)
    scene.limits.append(Limit(Origin.CALLSITE, (RULE,), reason, site))


def stopped(scene: Scene, bound: int, what: str) -> None:
    """Say that a bound was met, where a call could lead to what was not looked at."""
    limit(scene, None, f"more than {bound} {what}: those behind them were not looked at")


# ---- calls that may go there


def call(scene: Scene) -> int | None:
    """RVA of a call whose target nothing explains; None where there is none."""
    if scene.unexplained is None:
        scene.unexplained = _call(scene)
    return scene.unexplained if scene.unexplained >= 0 else None


def _call(scene: Scene) -> int:
    """The same, below 0 where there is none."""
    functions = scene.analysis.functions
    seen: set[int] = set()
    for rva in functions.reached():
        function = functions.at(rva)
        if function is None or function.start in seen:
            continue
        seen.add(function.start)
        for i, flow in enumerate(function.flows):
            if flow not in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
                continue
            if scene.flow.exhausted:
                return function.rvas[i]
            if _is_unexplained(scene, function, i):
                return function.rvas[i]
    return -1


def _is_unexplained(scene: Scene, function: Function, i: int) -> bool:
    """Whether a call or tail jump through a pointer may go to memory that was filled."""
    if not scene.is_within(function, i) or scene.callee(function, i):
        return False
    operand = scene.target(function, i)
    if scene.slot_of(operand) is not None or _is_guard(scene, operand):
        return False
    if function.flows[i] == Flow.INDIRECT_JUMP and not _loaded_plainly(scene, function, i, operand):
        return False
    scene.flow.begin()
    held = scene.flow.interprocedural.resolve(scene.flow.evaluate(function, i, operand, 0))
    known = (Kind.IMPORT, Kind.ROUTINE, Kind.TABLE, Kind.ADDRESS)
    return not held or any(atom.kind not in known for atom in held)


def _is_guard(scene: Scene, operand: Expr) -> bool:
    """Whether the call asks Control Flow Guard about a target, which another one then goes to."""
    if not isinstance(operand, Load) or operand.memory.base != IMAGE_BASE:
        return False
    return operand.memory.displacement == scene.image.guard_check


def _loaded_plainly(scene: Scene, function: Function, i: int, operand: Expr) -> bool:
    """Whether a jump goes where a pointer in memory says: jump tables have an index."""
    if isinstance(operand, Reg):
        for p in range(i - 1, max(-1, i - BACK), -1):
            if scene.arch.effect(function, p).registers >> operand.number & 1:
                operand = scene.arch.define(function, p, operand.number)
                break
    return isinstance(operand, Load) and operand.memory.index_register == NO_REGISTER


__all__ = ["call", "limit", "memory", "stopped"]

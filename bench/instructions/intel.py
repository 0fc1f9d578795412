"""x64 and x86: every instruction form that iced knows, in the emulator and on this processor.

    python bench/instructions/intel.py [--bits 64] [--states 4]

Needs an x86 computer; what its processor lacks is counted apart. Each form is run from random
states: by the engine alone, or, where `cpu/intel.py` takes it over, by that. Printed is each form
that differs for a reason that is not listed here, then the table; the exit code is 1 if there is
any. EVEX forms are not run: the product names all of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import compare
import engine
import forms
import host
from iced_x86 import Decoder

from hvci.verifier.cpu.intel import Intel

OTHERWISE = {
    "another computer": "CPUID RDTSC RDTSCP XGETBV SMSW STR SLDT SGDT SIDT RDFSBASE RDGSBASE "
    "PUSHF PUSHFW PUSHFQ PUSHFD MOV_R16 MOV_R32M16 MOV_R64M16 MOV_RM16_SREG RDRAND RDSEED LSL "
    "LAR PUSH PUSHW PUSHD XSAVE XSAVE64 XSAVEOPT XSAVEOPT64",
    "undefined by the manual": "BSR BSF SHLD SHRD BT BTC BTS BTR CMPXCHG EMMS",
    "approximations, and reserved or pointer fields of the FPU": "RCPPS RCPSS RSQRTPS RSQRTSS "
    "LDMXCSR FLDCW FLDENV FNSTENV FNSAVE FRSTOR FXSAVE FXSAVE64 FXRSTOR FXRSTOR64 FBSTP",
    "never written by a compiler": "POPFW POPFD POPFQ ENTERQ ENTERW ENTERD LAHF SAHF SALC LOOPNE",
}
"""Forms that differ from this processor and are right or harmless, by the first words of their
name. LAHF and SAHF differ with a REX prefix only, LOOPNE with a REP prefix, ENTER where the stack
ends."""
_REASONS = {name: reason for reason, names in OTHERWISE.items() for name in names.split()}


def reason_of(name: str) -> str:
    """Why a form may differ; empty when it may not."""
    words = name.split("_")
    tries = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    return next((_REASONS[each] for each in tries if each in _REASONS), "")


def states(form: forms.Form, seed: int, count: int) -> list[host.State]:
    """Random states, with targets where the instruction branches through data."""
    found = []
    instruction = Decoder(form.bits, form.raw).decode()
    uses_mmx = "_mm" in form.name.lower().replace("_xmm", "").replace("_ymm", "")
    target = (host.CODE + forms.EXIT).to_bytes(8, "little")
    for index in range(count):
        state = host.random_state(
            1000 * seed + index, form.bits, uses_mmx, index % 2 == 0, index % 4 >= 2
        )
        if instruction.is_call_near_indirect or instruction.is_jmp_near_indirect:
            state.general[3] = host.CODE + forms.EXIT
            state.data = state.data[:0xC0] + target + state.data[0xC8:]
        if form.name.startswith("RETN"):
            state.stack = state.stack[:0x100] + target + state.stack[0x108:]
        found.append(state)
    return found


class Judge:
    """Compares the emulator with the host, form by form."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._emulated = engine.Emulated(bits)
        self._intel = Intel(self._emulated.processor, bits)

    def takes_over(self, form: forms.Form) -> bool:
        """Whether the product executes or names it before the engine sees it."""
        self._emulated.memory.poke(host.CODE, form.raw.ljust(32, b"\x90"))
        return bool(self._intel.special(host.CODE, host.CODE + len(form.raw)))

    def step(self, form: forms.Form, state: host.State) -> host.State | None:
        """The state behind the product's own execution; None when it names the instruction."""
        self._emulated.load(form.raw, state)
        following = self._intel.step(host.CODE)
        if following is None:
            return None
        found = self._emulated.store(state, 0)
        found.exit = int(following == host.CODE + forms.EXIT)
        return found

    def kind(
        self, rows: list[tuple[forms.Form, host.State, host.State | None, host.State | None]]
    ) -> tuple[str, list[str]]:
        """What became of a form, and what differs."""
        known = [row for row in rows if row[2] is not None]
        ran = [row for row in known if not row[2].fault]
        if not ran:
            return "not on this host", []
        if self.takes_over(rows[0][0]):
            return self._taken_over(ran)
        if any(ours is None for *_, ours in ran):
            return "crash", []
        if any(ours.fault == engine.ILLEGAL for *_, ours in ran):
            return "named, refused by the engine", []
        found = [
            name
            for form, _, theirs, ours in ran
            for name in compare.differences(form.raw, self.bits, theirs, ours)
        ]
        return ("wrong" if found else "right"), found

    def _taken_over(
        self, ran: list[tuple[forms.Form, host.State, host.State | None, host.State | None]]
    ) -> tuple[str, list[str]]:
        found = []
        for form, state, theirs, _ in ran:
            ours = self.step(form, state)
            if ours is None:
                return "named", []
            found += compare.differences(form.raw, self.bits, theirs, ours)
        return ("executed wrongly" if found else "executed"), found


def examine(bits: int, count: int, folder: Path) -> int:
    """Print one table; return how many forms differ without a reason."""
    every = [form for form in forms.forms(bits) if form.encoding != "EVEX"]
    able = [form for form in every if forms.runs_on_the_host(form)]
    cases = [(form, state) for seed, form in enumerate(able) for state in states(form, seed, count)]
    plain = [(form.raw, state) for form, state in cases]
    theirs, ours = host.run(host.build(bits, folder), plain), engine.run_all(bits, plain)
    rows: dict[tuple[str, bool], list] = {}
    for (form, state), left, right in zip(cases, theirs, ours, strict=True):
        rows.setdefault(form.key, []).append((form, state, left, right))
    judge, kinds, bad = Judge(bits), Counter(), 0
    for (name, memory), found in sorted(rows.items()):
        kind, why = judge.kind(found)
        if kind in ("wrong", "crash", "executed wrongly") and (reason := reason_of(name)):
            kind = f"otherwise: {reason}"
        elif kind in ("wrong", "crash", "executed wrongly"):
            bad += 1
            raw = found[0][0].raw.hex()
            print(f"{bits} {kind}: {name} {'memory' if memory else ''} {raw} {why[:2]}"[:200])
        kinds[kind] += 1
    left = {form.key for form in every} - set(rows)
    print(f"{bits} bits: {len(rows)} forms run; {len(left)} leave user mode and are not run")
    for kind, number in kinds.most_common():
        print(f"  {kind:<60}{number:>6}")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bits", type=int, choices=(64, 32), action="append")
    parser.add_argument("--states", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [examine(bits, options.states, Path(folder)) for bits in options.bits or (64, 32)]
    return int(any(found))


if __name__ == "__main__":
    sys.exit(main())

"""No call through an impacted import slot is missed: a full linear disassembly as the judge.

Register contents are followed in code order with capstone's text, independent of the product's
decoder, references and data flow.
"""

import re
from pathlib import Path

import pytest
from capstone import CS_ARCH_ARM64, CS_MODE_ARM, Cs

from hvci import catalog
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.callsites import CallSites
from hvci.binary.pe.image import PeImage

BUILT = Path(__file__).parent.parent / "fixtures" / "built"
BR_X16 = 0xD61F0200
"""How an import thunk ends; only calls of the thunk count."""
VOLATILE = {f"x{n}" for n in range(18)}
LOAD = re.compile(r"(x\d+), \[(x\d+)(?:, #(-?\w+))?\]$")
PAIR = re.compile(r"(x\d+), (x\d+), \[(x\d+)(?:, #(-?\w+))?\]$")
LOADS = {"ldr", "ldur", "ldtr", "ldar", "ldlar", "ldapr", "ldapur", "ldxr", "ldaxr"}
PAIRS = {"ldp", "ldnp", "ldxp", "ldaxp"}
ADD = re.compile(r"(x\d+), (x\d+), #(\w+)$")
STORES = ("st", "cmp", "cmn", "tst", "ccm", "cb", "tb", "b.", "prfm")


def wide(name):
    return "x" + name[1:] if name[:1] == "w" and name[1:].isdigit() else name


def sweep(image):
    """(RVA of the call or jump, slot) of everything that goes through an import slot."""
    capstone = Cs(CS_ARCH_ARM64, CS_MODE_ARM)
    capstone.skipdata = True
    found, branches = set(), []
    for start, end in image.code_ranges:
        known = {}
        for rva, _, name, text in capstone.disasm_lite(bytes(image.memory[start:end]), start):
            step(known, rva, name, text, found, image.imports)
            if name in ("b", "bl"):
                branches.append((rva, int(text.lstrip("#"), 0)))
    thunks = {rva - 8: slot for rva, slot in found if image.u32(rva) == BR_X16}
    through = {(rva, thunks[target]) for rva, target in branches if target in thunks}
    return through | {(rva, slot) for rva, slot in found if rva - 8 not in thunks}


def step(known, rva, name, text, found, imports):
    operands = [wide(part.strip(" []!")) for part in text.split(",")]
    if name in ("blr", "br"):
        kind, slot = known.get(text, (None, 0))
        if kind == "slot":
            found.add((rva, slot))
    if name in ("bl", "blr"):
        for register in VOLATILE & known.keys():
            del known[register]
    elif name == "ret":
        known.clear()
    elif name == "adrp":
        known[operands[0]] = "address", int(operands[1].lstrip("#"), 0)
    elif name == "add" and (match := ADD.match(text)) and match[2] in known:
        kind, value = known[match[2]]
        known[match[1]] = kind, value + int(match[3], 0)
    elif name in LOADS and (match := LOAD.match(text)) and is_address(known, match[2]):
        slot = known[match[2]][1] + int(match[3] or "0", 0)
        known[match[1]] = ("slot", slot) if slot in imports else ("other", 0)
    elif name in PAIRS and (match := PAIR.match(text)) and is_address(known, match[3]):
        slot = known[match[3]][1] + int(match[4] or "0", 0)
        for register, each in ((match[1], slot), (match[2], slot + 8)):
            known[register] = ("slot", each) if each in imports else ("other", 0)
    elif name == "mov" and operands[1] in known:
        known[operands[0]] = known[operands[1]]
    elif not name.startswith(STORES):
        for operand in operands[: 2 if name.startswith("ldp") else 1]:
            known.pop(operand, None)


def is_address(known, register):
    return known.get(register, " ")[0] == "address"


def missed(image):
    """Calls of catalogued exports that the sweep sees and the analysis does not."""
    exports = catalog.exports()
    names = {call.site.rva for call in CallSites(Analysis(image)).find()}
    return [
        (hex(rva), image.imports[slot].name)
        for rva, slot in sorted(sweep(image))
        if image.imports[slot].name in exports and rva not in names
    ]


def test_the_sweep_sees_loads_that_acquire_and_pairs():
    image = PeImage((BUILT / "acquire_bad.arm64.asm.sys").read_bytes())
    assert len(sweep(image)) > 15


@pytest.mark.parametrize("path", sorted(BUILT.glob("*.arm64.*sys")), ids=lambda path: path.stem)
def test_a_linear_sweep_finds_nothing_more(path):
    assert missed(PeImage(path.read_bytes())) == []

"""Where ARM64 registers live on: along branches that leave, and through the frame."""

import numpy as np

from hvci.binary.arch.arm64.scan import paths as paths_arm64
from hvci.binary.arch.arm64.scan.paths import Paths

NOP = 0xD503201F
RET = 0xD65F03C0
BR = 0xD61F0100
X19, X20 = 19, 20


def branch(by):
    return 0x14000000 | by & 0x3FFFFFF


def branch_if_zero(by):
    return 0xB4000000 | (by & 0x7FFFF) << 5


def branch_on_bit(by):
    return 0x36000000 | (by & 0x3FFF) << 5


def save(register, offset):
    return 0xF90003E0 | offset // 8 << 10 | register


def load(register, offset):
    return 0xF94003E0 | offset // 8 << 10 | register


def save_pair(first, second, offset):
    return 0xA90003E0 | (offset // 8 & 0x7F) << 15 | second << 10 | first


def rows(*stretches):
    first, last, registers = zip(*stretches, strict=True)
    return np.array(first), np.array(last), np.array(registers, np.int64)


def paths(*words, ends=None, labels=()):
    edges = np.array(labels, np.int64).reshape(-1, 2)
    bounds = np.array(ends or [len(words)])
    return Paths(np.array(words, np.uint32), bounds, (edges[:, 0], edges[:, 1]))


def places(lives):
    """(index of the place itself, register, row) in order."""
    before, registers, row = lives
    return sorted(zip((before + 1).tolist(), registers.tolist(), row.tolist(), strict=True))


def behind(lives):
    """Loads stand before the place: (index of the load, register, row)."""
    return sorted(zip(*(part.tolist() for part in lives), strict=True))


def test_a_register_lives_on_at_the_labels_of_a_jump_table():
    found = paths(NOP, BR, NOP, RET, NOP, labels=[(1, 2), (1, 4)])
    assert places(found.branched(*rows((0, 2, X19)))) == [(4, X19, 0)]
    assert places(found.branched(*rows((0, 0, X19)))) == []


def test_nothing_lives_on_without_a_branch_that_leaves():
    assert places(paths(NOP, branch(2), NOP, NOP, RET).branched(*rows((0, 4, X19)))) == []
    assert places(paths(NOP, branch(3), NOP, NOP, RET).branched(*rows((2, 3, X19)))) == []


def test_every_kind_of_branch_out_of_the_stretch():
    for word in (branch(3), branch_if_zero(3), branch_on_bit(3), 0x54000000 | 3 << 5):
        code = paths(NOP, word, NOP, NOP, RET)
        assert places(code.branched(*rows((0, 2, X19)))) == [(4, X19, 0)]


def test_a_branch_back_to_before_the_stretch():
    assert places(paths(NOP, NOP, NOP, branch(-2)).branched(*rows((2, 3, X20)))) == [(1, X20, 0)]


def test_a_branch_out_of_the_code_is_none():
    assert places(paths(NOP, branch(100), branch(-100)).branched(*rows((0, 2, X19)))) == []


def test_a_save_leads_to_the_loads_of_its_slot_behind_it():
    code = paths(load(X20, 24), save(X19, 24), NOP, load(X20, 16), load(X20, 24), load(3, 24))
    assert behind(code.reloaded(*rows((0, 2, X19)))) == [(4, X20, 0), (5, 3, 0)]
    assert behind(code.reloaded(*rows((0, 2, X20)))) == []
    assert behind(code.reloaded(*rows((2, 3, X19)))) == []


def test_both_registers_of_a_pair():
    code = paths(save_pair(X19, X20, 16), NOP, load(1, 16), load(2, 24))
    assert behind(code.reloaded(*rows((0, 1, X19), (0, 1, X20)))) == [(2, 1, 0), (3, 2, 1)]


def test_another_function_has_another_frame():
    words = (save(X19, 8), NOP, load(X20, 8), RET, load(X20, 8))
    assert behind(paths(*words, ends=[4, 5]).reloaded(*rows((0, 1, X19)))) == [(2, X20, 0)]


def test_work_is_bounded(monkeypatch):
    code = paths(*[branch(1 << 12)] * 8, *[NOP] * (1 << 12), *[NOP] * 8)
    assert len(places(code.branched(*rows(*[(0, 7, X19)] * 4)))) == 32
    monkeypatch.setattr(paths_arm64, "MOST", 20)
    assert len(places(code.branched(*rows(*[(0, 7, X19)] * 4)))) == 16

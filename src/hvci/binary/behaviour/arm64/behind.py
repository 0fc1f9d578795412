"""What becomes of the registers that ARM64 words make, as the words behind them show, all at once.

The counterpart of `is_kept` in near.py for arrays of words, one row each with a column for
each word behind. Less exact: what is said to be lost surely is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.arm64.encoding import BRANCHES, CALL, LITTLE, LR, PAIR, WRITES, ZERO, kinds
from hvci.binary.arch.arm64.lift import SAVED_FROM
from hvci.binary.arch.arm64.scan.fields import Words
from hvci.binary.arch.arm64.words import FP

Mask = npt.NDArray[np.bool_]


def are_stored_through(made: Words, behind: Words, anywhere: bool) -> Mask:
    """Behind which words a store goes through their register, or `anywhere` but to the frame."""
    base = behind >> 5 & 31
    through = base == (made & 31)[:, None]
    if anywhere:
        through |= base < FP
    single, pair = behind & 0x3A400000 == 0x38000000, behind & 0x3A400000 == 0x28000000
    return np.asarray(((single | pair) & through).any(axis=1))


def are_lost(made: Words, behind: Words) -> Mask:
    """Whose register is overwritten before a word behind adds to it, stores it or through it.

    Calls overwrite the registers that they do not preserve. What is read through the register is
    something else.
    """
    register, does = (made & 31)[:, None], kinds(behind)
    first, second = behind & 31 == register, behind >> 5 & 31 == register
    others = (behind >> 16 & 31 == register) | (behind >> 10 & 31 == register)
    is_access = behind & 0x0A000000 == 0x08000000
    is_load = behind & 0x3FC00000 == 0x39400000  # of one register, at an offset
    uses = second | others | first & is_access
    uses &= ~is_load & (does & BRANCHES == 0)
    is_volatile = (register < SAVED_FROM) | (register == LR)
    ends = first & (does & WRITES != 0) | (does & CALL != 0) & is_volatile
    rows, nearest = np.arange(len(made)), (uses | ends).argmax(axis=1)
    is_single = kinds(made) & (LITTLE | PAIR | WRITES) == LITTLE | WRITES
    is_single &= made & 31 != ZERO
    return np.asarray(ends[rows, nearest] & ~uses[rows, nearest] & is_single)

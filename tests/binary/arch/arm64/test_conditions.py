"""What the last of some ARM64 words depends on, as the words before it set the flags."""

import numpy as np
import pytest
from tests import build

from hvci.binary import PeImage
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.arm64.conditions import condition
from hvci.binary.form.code import Binary, Condition, Const, Reg

START = 0x1000
CMP_W0_5, CMP_X0_X1, CMN_W0_5, CMN_W0_0 = 0x7100141F, 0xEB01001F, 0x3100141F, 0x3100001F
TST_W0_4, TST_X0_X1, CMP_SP = 0x721E001F, 0xEA01001F, 0xF10043FF
CCMP_W1_3_NE, CCMP_X1_X2_HI, CCMN_W1_3_NE = 0x7A431824, 0xFA428020, 0x3A431824
EQ, HI, MI, GE, LT = 0x54000040, 0x54000048, 0x54000044, 0x5400004A, 0x5400004B
AL, VS, CSET_LO = 0x5400004E, 0x54000046, 0x1A9F27E0
CBZ_W1, CBNZ_X1, TBZ_W0_3, TBNZ_X0_40 = 0x34000041, 0xB5000041, 0x36180040, 0xB7400040
NOP, ADD_X9, FCMP, MSR_NZCV, BL = 0xD503201F, 0x91000529, 0x1E612000, 0xD51B4200, 0x94000010
W0, W1, X0, X1, ZERO = Reg(0, 4), Reg(1, 4), Reg(0, 8), Reg(1, 8), Const(0)
NE_5 = Condition("ne", W0, Const(5), 4, 0)


def condition_of(*code):
    """What the last word depends on, in a function of these words."""
    image = PeImage(build.driver("arm64"))
    for i, word in enumerate((*code, NOP, NOP)):
        image.memory[START + 4 * i : START + 4 * i + 4] = word.to_bytes(4, "little")
    analysis = Analysis(image)
    table = analysis.functions.unwind
    table.starts, table.ends = [START], [START + 4 * len(code) + 8]
    table._data = np.zeros(1, np.int64)
    return condition(analysis.functions.at(START), len(code) - 1)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ((CBZ_W1,), Condition("eq", W1, ZERO, 4, 0)),
        ((CBNZ_X1,), Condition("ne", X1, ZERO, 8, 0)),
        ((TBZ_W0_3,), Condition("eq", Binary("and", X0, Const(8), 8), ZERO, 8, 0)),
        ((TBNZ_X0_40,), Condition("ne", Binary("and", X0, Const(1 << 40), 8), ZERO, 8, 0)),
        ((CMP_W0_5, EQ), Condition("eq", W0, Const(5), 4, 0)),
        ((CMP_W0_5, ADD_X9, HI), Condition("ugt", W0, Const(5), 4, 0)),
        ((CMP_X0_X1, LT), Condition("slt", X0, X1, 8, 0)),
        ((CMN_W0_5, GE), Condition("sge", W0, Const(0xFFFFFFFB), 4, 0)),
        ((TST_W0_4, EQ), Condition("eq", Binary("and", W0, Const(4), 4), ZERO, 4, 0)),
        ((TST_X0_X1, GE), Condition("pos", Binary("and", X0, X1, 8), ZERO, 8, 0)),
        ((TST_X0_X1, MI), Condition("neg", Binary("and", X0, X1, 8), ZERO, 8, 0)),
        ((CMP_X0_X1, CSET_LO), Condition("ult", X0, X1, 8, 0)),
        ((CMP_W0_5, CCMP_W1_3_NE, EQ), Condition("eq", W1, Const(3), 4, 1, NE_5, True)),
        ((CMP_W0_5, CCMP_W1_3_NE, HI), Condition("ugt", W1, Const(3), 4, 1, NE_5, False)),
        (
            (CMP_W0_5, CCMP_X1_X2_HI, GE),
            Condition("sge", X1, Reg(2, 8), 8, 1, NE_5._replace(name="ugt"), True),
        ),
    ],
)
def test_what_a_word_depends_on(code, expected):
    assert condition_of(*code) == expected


@pytest.mark.parametrize(
    "code",
    [
        (NOP,),
        (EQ,),
        (CMP_W0_5, AL),
        (CMP_W0_5, VS),
        (TST_W0_4, HI),
        (CMP_SP, EQ),
        (CMN_W0_0, EQ),
        (CMP_W0_5, FCMP, EQ),
        (CMP_W0_5, MSR_NZCV, EQ),
        (CMP_W0_5, BL, EQ),
        (CMP_W0_5, CCMN_W1_3_NE, EQ),
        (FCMP, CCMP_W1_3_NE, EQ),
        (CMP_W0_5, *[ADD_X9] * 16, EQ),
    ],
)
def test_what_is_not_told(code):
    assert condition_of(*code) is None

"""Whether code is seen to fill memory soon, by single instructions."""

from types import SimpleNamespace

import pytest

from hvci.binary.form.ahead import ANY_SLOT, Glance, MayFill, Seen

SLOT, CALLEE = 0x4000, 0x2000
STORE, NUMBER, BLOCK, END = (
    Glance(4, each) for each in (Seen.STORE, Seen.NUMBER, Seen.BLOCK, Seen.END)
)
BACK, ON = Glance(8, Seen.BRANCH, 0), Glance(8, Seen.BRANCH, 12)
CALL, AGAIN = Glance(8, Seen.CALL, CALLEE), Glance(8, Seen.CALL, CALLEE + 0x100)
THROUGH, OTHER = Glance(8, Seen.THROUGH, SLOT), Glance(8, Seen.THROUGH, SLOT + 8)
LOOP = (Glance(CALLEE, Seen.STORE), Glance(CALLEE + 4, Seen.BRANCH, CALLEE))


def soon(code, callee=(), has_number=False, slots=(SLOT,)):
    """What is said of some code; behind `callee` stands what calls it again and again."""
    image = SimpleNamespace(is_code=lambda rva: True)
    known = {0: code, CALLEE: callee, CALLEE + 0x100: (CALL, AGAIN)}
    return MayFill(image, slots, lambda start, most: iter(known[start])).soon(0, has_number)


@pytest.mark.parametrize(
    ("code", "callee", "has_number", "expected"),
    [
        ((STORE, NUMBER, BACK), (), False, True),
        ((STORE, BACK, NUMBER), (), False, False),
        ((STORE, BACK), (), True, True),
        ((NUMBER, BACK), (), False, False),  # the loop stores nothing
        ((STORE, NUMBER, ON), (), False, False),
        ((NUMBER, BLOCK), (), False, True),
        ((BLOCK,), (), False, False),
        ((NUMBER, END, BLOCK), (), False, False),
        ((NUMBER, THROUGH), (), False, True),
        ((NUMBER, OTHER), (), False, False),
        ((NUMBER, Glance(8, Seen.THROUGH, ANY_SLOT)), (), False, True),
        ((NUMBER, CALL), LOOP, False, True),  # told how much
        ((CALL,), LOOP, False, False),
        ((CALL,), (NUMBER, *LOOP), False, True),  # it knows itself
        ((CALL,), (NUMBER, AGAIN), False, False),
    ],
)
def test_a_fill_is_seen(code, callee, has_number, expected):
    assert soon(code, callee, has_number) is expected


def test_a_call_through_a_register_fills_where_something_that_fills_is_imported():
    assert not soon((NUMBER, Glance(8, Seen.THROUGH, ANY_SLOT)), slots=())

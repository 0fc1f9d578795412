"""Plain data: what comes back is what was sent, and only what the type declares."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import pytest

from hvci.verifier.plain import NotPlain, from_plain, to_plain


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    LARGE = 7


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Outer:
    inner: Inner
    rows: tuple[Inner, ...]
    pair: tuple[int, str]
    values: frozenset[int]
    table: dict[Colour, int]
    size: Size = Size.LARGE
    share: float = 0.5
    flag: bool = True


WHOLE = Outer(
    Inner("a", 1), (Inner("b"), Inner("c", 3)), (1, "x"), frozenset({3, 1}), {Colour.RED: 2}
)


def test_what_comes_back_is_what_was_sent():
    assert from_plain(Outer, to_plain(WHOLE)) == WHOLE


@pytest.mark.parametrize(
    ("index", "data"),
    [
        (0, "a"),
        (0, ["a", 1, 2]),
        (0, [1, 1]),
        (0, ["a", "1"]),
        (1, [["b", None], "c"]),
        (2, [1]),
        (2, ["1", "x"]),
        (3, ["x"]),
        (3, 1),
        (4, [["blue", 1]]),
        (4, [["red"]]),
        (5, 8),
        (5, "LARGE"),
        (6, "0.5"),
        (7, 1),
        (7, None),
    ],
)
def test_other_data_is_refused(index, data):
    plain = to_plain(WHOLE)
    plain[index] = data
    with pytest.raises(NotPlain):
        from_plain(Outer, plain)


def test_what_has_no_plain_form_is_refused():
    with pytest.raises(NotPlain):
        to_plain(object())

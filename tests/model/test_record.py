"""Frozen classes: what the standard library's do, these do as well."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from hvci.model.record import ordered_record, record


@dataclass(frozen=True, slots=True)
class Plain:
    """The standard library's."""

    name: str
    sizes: tuple[int, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


@record
class Ours:
    """The same fields."""

    name: str
    sizes: tuple[int, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """A method of its own."""
        return sum(self.sizes)


@record
class Single:
    """One field: no tuple is made of it by accident."""

    value: int


@ordered_record
class Place:
    """Ordered by its fields."""

    line: int
    column: int = 1


@pytest.mark.parametrize(
    "given",
    [
        (("a",), {}),
        (("a", (1, 2)), {}),
        ((), {"name": "a", "sizes": (3,)}),
        (("a",), {"sizes": ()}),
    ],
)
def test_arguments_land_where_the_standard_library_puts_them(given):
    positional, named = given
    ours, theirs = Ours(*positional, **named), Plain(*positional, **named)
    assert [getattr(ours, each.name) for each in fields(Ours)] == [
        getattr(theirs, each.name) for each in fields(Plain)
    ]
    assert repr(ours) == repr(theirs).replace("Plain", "Ours")


@pytest.mark.parametrize("wrong", [((), {}), (("a", (), {}, 4), {}), (("a",), {"other": 1})])
def test_wrong_arguments_are_refused_and_the_next_object_is_made(wrong):
    positional, named = wrong
    with pytest.raises(TypeError):
        Ours(*positional, **named)
    assert Ours("a").name == "a"


def test_a_default_that_is_made_is_made_for_each_object():
    assert Ours("a").seconds is not Ours("a").seconds


def test_equal_where_every_field_is_and_of_one_class():
    assert Ours("a", (1,)) == Ours("a", (1,))
    assert Ours("a", (1,)) != Ours("a", (2,))
    assert Ours("a") != Plain("a")
    assert Single(1) == Single(1)
    assert Single(1) != Single(2)


def test_equal_objects_have_one_hash():
    assert len({Single(1), Single(1), Single(2)}) == 2


@pytest.mark.parametrize(
    "change", [lambda one: setattr(one, "name", "b"), lambda one: delattr(one, "name")]
)
def test_nothing_changes(change):
    one = Ours("a")
    with pytest.raises(FrozenInstanceError):
        change(one)
    assert one.name == "a"
    assert not hasattr(one, "__dict__")


def test_copies_and_pickles_are_equal():
    one = Ours("a", (1, 2))
    assert replace(one, name="b") == Ours("b", (1, 2))
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one) == one
    assert one.total == 3


def test_order_is_that_of_the_fields():
    places = [Place(2, 1), Place(1, 9), Place(1, 2)]
    assert sorted(places) == [Place(1, 2), Place(1, 9), Place(2, 1)]
    assert Place(1) <= Place(1)
    assert Place(2) > Place(1, 9)
    with pytest.raises(TypeError):
        assert Place(1) < Single(1)

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from facts import IMAGE, call, evidence, section
from hvci.model import Evidence, Limit, Origin, Value


@st.composite
def values(draw):
    possible = draw(st.frozensets(st.integers(0, 8)))
    complete = draw(st.booleans())
    opt_in = frozenset(v for v in sorted(possible) if draw(st.booleans()))
    return Value(possible, complete, "" if complete else "some reason", opt_in)


def same(one, other):
    """Equal but for the reason, of which a join keeps the first."""
    return (one.possible, one.complete, one.opt_in) == (
        other.possible,
        other.complete,
        other.opt_in,
    )


@given(values())
def test_a_join_with_itself_changes_nothing(value):
    assert value.join(value) == value


@given(values(), values())
def test_the_order_of_a_join_does_not_matter(one, other):
    assert same(one.join(other), other.join(one))


@given(values(), values(), values())
def test_the_grouping_of_joins_does_not_matter(one, other, third):
    assert one.join(other).join(third) == one.join(other.join(third))


@given(values(), values())
def test_a_join_loses_nothing(one, other):
    joined = one.join(other)
    assert joined.possible == one.possible | other.possible
    assert joined.lasting == one.lasting | other.lasting
    assert joined.complete == (one.complete and other.complete)


@given(values(), values())
def test_a_join_that_is_not_complete_says_why(one, other):
    joined = one.join(other)
    assert joined.complete or joined.reason


@given(values())
def test_what_the_opt_in_replaces_is_possible_and_does_not_last(value):
    assert value.opt_in <= value.possible
    assert not value.opt_in & value.lasting


def test_makers():
    assert Value.exactly(1, 2) == Value(frozenset({1, 2}), True)
    assert Value.unknown("why", 1) == Value(frozenset({1}), False, "why")


def test_sections_know_their_rights_and_their_end():
    text = section(".text", 0x1000, 0x6000_0020)
    assert (text.executable, text.writable, text.discardable) == (True, False, False)
    init = section("INIT", 0x1000, 0xE200_0020)
    assert (init.executable, init.writable, init.discardable) == (True, True, True)
    assert text.holds(0x1000)
    assert text.holds(0x17FF)
    assert not text.holds(0xFFF)
    assert not text.holds(0x1800)
    unsized = replace(section(".x", 0x1000, 0, virtual_size=0), raw_size=0x800)
    assert unsized.end == 0x1800


def test_an_image_finds_the_section_of_an_rva():
    assert IMAGE.section_at(0x2010).name == ".rdata"
    assert IMAGE.section_at(0x9000) is None


def test_evidence_of_two_readers_is_joined():
    limit = Limit(Origin.SOURCE, (), "a file was not read")
    source = Evidence(
        frozenset({Origin.SOURCE}),
        calls=(call("ExAllocatePool", origin=Origin.SOURCE, PoolType=0),),
        limits=(limit,),
        seconds={"source": 1.0},
    )
    first = evidence(seconds={"image": 2.0})
    joined = first.merged([source])
    assert joined.origins == {Origin.IMAGE, Origin.CALLSITE, Origin.SOURCE}
    assert joined.calls == first.calls + source.calls
    assert joined.limits == (limit,)
    assert joined.image is IMAGE
    assert joined.seconds == {"image": 2.0, "source": 1.0}
    assert joined.target_os is first.target_os
    assert source.merged([first]).image is IMAGE
    assert first.merged([]) is first

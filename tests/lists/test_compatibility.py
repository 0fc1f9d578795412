"""Compatibility databases: each condition and bit, what cannot be told, and damage."""

import random
import struct

import pytest

import databases as make
from build import driver
from hvci import signing
from hvci.errors import InputError, UsageError
from hvci.lists import blocklisted, load_database
from hvci.lists.compatibility import Compatibility, checksum
from hvci.lists.subject import Subject
from hvci.model import NEWEST, WindowsVersion
from resources import with_version

IMAGE = with_version(
    driver(),
    (2, 5, 0, 1),
    OriginalFilename="bad.sys",
    ProductName="Tool [x]",
    CompanyName="Vendor Ltd",
)
PE = struct.unpack_from("<I", IMAGE, 0x3C)[0]
PE_CHECKSUM = struct.unpack_from("<I", IMAGE, PE + 24 + 64)[0]
LINKED = struct.unpack_from("<I", IMAGE, PE + 8)[0]


def ask(
    *entries, image=IMAGE, path="C:\\Windows\\System32\\drivers\\Bad.SYS", version=3, target=NEWEST
):
    subject = Subject(signing.read(image, target), path, target)
    return Compatibility("x.sdb", make.database(*entries, version=version)).ask(subject)


def entry(*conditions, name="bad.sys", policy=0x10, **more):
    return make.driver_entry(name, *conditions, policy=policy, **more)


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", [make.EXE, make.KERNEL_DRIVER])
def test_a_driver_by_its_name_alone(version, kind):
    answer = ask(entry(kind=kind), version=version)
    (match,) = answer.matches
    assert match.rule == "{03020100-0504-0706-0809-0a0b0c0d0e0f}"
    assert match.title == "about bad.sys"
    assert match.why == "name bad.sys: refused when memory integrity runs (policy 0x10)"
    assert answer.entries == 1
    assert not answer.doubt


@pytest.mark.parametrize(
    ("name", "wild", "matches"),
    [
        ("BAD.sys", False, True),
        ("good.sys", False, False),
        ("b*.sys", True, True),
        ("b?d.sys", True, True),
        ("b?.sys", True, False),
        ("b*.sys", False, True),
    ],
)
def test_names(name, wild, matches):
    assert bool(ask(entry(name=name, wild=wild)).matches) is matches


def test_a_file_that_was_renamed_is_a_doubt():
    answer = ask(entry(), path="/tmp/0f1e2d.sys")
    assert not answer.matches
    assert answer.doubt == (
        "entry bad.sys fits, but it is listed as bad.sys, and the file is called 0f1e2d.sys"
    )


def test_entries_within_an_application():
    assert ask((make.APP, [(make.NAME, "a"), entry()])).matches


# ---------------------------------------------------------------------- conditions

CONDITIONS = [
    (make.SIZE, len(IMAGE), len(IMAGE) + 1),
    (make.CHECKSUM, checksum(IMAGE), checksum(IMAGE) ^ 1),
    (make.PE_CHECKSUM, PE_CHECKSUM, PE_CHECKSUM ^ 1),
    (make.COMPANY, "vendor*", "vendor"),
    (make.COMPANY, "Vendor Ltd", "Other"),
    (make.PRODUCT, "tool [x]", "tool x"),
    (make.ORIGINAL, "bad.sys", "worse.sys"),
    (0x6011, None, "1"),  # a ProductVersion that the file does not have
    (make.FILE_VERSION, make.version(2, 5, 0, 1), make.version(2, 5, 0, 2)),
    (make.FILE_VERSION, make.version(2, 0xFFFF, 0xFFFF, 0xFFFF), make.version(3, 0xFFFF, 0, 0)),
    (0x5003, make.version(2, 5, 0, 1), make.version(0, 0, 0, 0)),
    (make.UPTO_VERSION, make.version(2, 5, 0, 1), make.version(2, 5, 0, 0)),
    (make.UPTO_VERSION, make.version(2, 0xFFFF, 0, 1), make.version(1, 0xFFFF, 0, 1)),
    (make.FROM_VERSION, make.version(2, 4, 9, 9), make.version(2, 5, 1, 0)),
    (0x5006, make.version(3, 0, 0, 0), make.version(1, 0, 0, 0)),
    (0x5012, make.version(1, 0, 0, 0), make.version(3, 0, 0, 0)),
    (0x401D, LINKED, LINKED + 1),
    (0x401E, LINKED, LINKED - 1),
    (0x4033, LINKED, LINKED + 1),
    (0x401C, 10 << 16, 11 << 16),
    (0x4006, 3, 1),
    (0x5020, len(IMAGE), 5),
]


@pytest.mark.parametrize(("tag", "fitting", "other"), CONDITIONS)
def test_each_condition_alone(tag, fitting, other):
    if fitting is not None:
        (match,) = ask(entry((tag, fitting))).matches
        assert match.why.startswith("name bad.sys, ")
    answer = ask(entry((tag, other)))
    assert (answer.matches, answer.doubt) == ((), "")


def test_all_conditions_must_hold():
    good, bad = (make.SIZE, len(IMAGE)), (make.COMPANY, "Other")
    assert not ask(entry(good, bad)).matches
    why = ask(entry(good, (make.UPTO_VERSION, make.version(3, 0, 0, 0)))).matches[0].why
    assert f"size {len(IMAGE):#x}, file version up to 3.0.0.0:" in why


def test_a_condition_that_must_not_hold():
    assert ask(entry((make.NOT,), (make.SIZE, 5))).matches[0].why.startswith("name bad.sys, not s")
    assert not ask(entry((make.NOT,), (make.SIZE, len(IMAGE)))).matches


def test_a_driver_without_a_version_has_none_of_the_attributes():
    for condition in ((make.UPTO_VERSION, make.version(9, 0, 0, 0)), (make.COMPANY, "*")):
        assert not ask(entry(condition), image=driver()).matches


FROM_OS, BEFORE_OS = 0x6036, 0x6037


@pytest.mark.parametrize(
    ("condition", "target", "fits"),
    [
        ((FROM_OS, "TH1"), NEWEST, True),
        ((FROM_OS, "TH1"), WindowsVersion.WINDOWS_10_1507, True),
        ((FROM_OS, "TH1"), WindowsVersion.WINDOWS_7, True),  # asked where memory integrity runs
        ((FROM_OS, "rs5"), WindowsVersion.WINDOWS_10_1809, True),
        ((FROM_OS, "RS5"), WindowsVersion.WINDOWS_10_1803, False),
        ((BEFORE_OS, "RS5"), WindowsVersion.WINDOWS_10_1803, True),
        ((BEFORE_OS, "RS5"), WindowsVersion.WINDOWS_10_1809, False),
    ],
)
def test_an_entry_for_some_releases_of_windows(condition, target, fits):
    answer = ask(entry(extra=(condition,)), target=target)
    assert (len(answer.matches), answer.doubt) == (fits, "")


def test_an_entry_for_an_unknown_windows_is_a_doubt():
    for condition in ((FROM_OS, "ZZ9"), (BEFORE_OS, "ZZ9")):
        answer = ask(entry(extra=(condition,)))
        assert answer.doubt == "entry bad.sys fits, but it is for a Windows called ZZ9"
        assert not ask(entry((make.SIZE, 1), extra=(condition,))).doubt


def test_what_cannot_be_checked_is_a_doubt():
    answer = ask(entry((0x404A, 5)))
    assert answer.doubt == "entry bad.sys fits, but its condition 0x404a cannot be checked"
    other = ask(entry(extra=((make.MATCHING_FILE, [(make.NAME, "other.dll")]),)))
    assert "it asks for a file other.dll beside the driver" in other.doubt
    assert "condition 0x701e" in ask(entry(extra=((0x701E, []),))).doubt
    assert not ask(entry((0x404A, 5), (make.SIZE, 1))).doubt
    own = ask(entry(extra=((make.MATCHING_FILE, [(make.NAME, "BAD.sys")]),)))
    assert own.matches


# ---------------------------------------------------------------------- the sum


@pytest.mark.parametrize("size", [0, 3, 4, 100, 0xFFF, 0x1000, 0x1100, 0x1200, 0x5000])
def test_the_checksum_by_its_definition(size):
    data = random.Random(size).randbytes(size)
    start, length = (0, size) if size < 0x1000 else (min(0x200, size - 0x1000), 0x1000)
    total = 0
    for at in range(start, start + length - 3, 4):
        total = (total + int.from_bytes(data[at : at + 4], "little")) % 2**32
        total = (total >> 1) + (2**31 if total % 2 else 0)
    assert checksum(data) == total


# ---------------------------------------------------------------------- effects


@pytest.mark.parametrize(
    ("policy", "effect"),
    [
        (0x10, "refused when memory integrity runs (policy 0x10)"),
        (0x20, "refused when kernel shadow stacks run (policy 0x20)"),
        (0x40, "refused when HVPT runs (policy 0x40)"),
        (0x11, "refused when memory integrity runs (policy 0x11)"),
        (
            0x70,
            "refused when memory integrity runs and when kernel shadow stacks run and when HVPT "
            "runs (policy 0x70)",
        ),
        (0, "refused always, as critical (policy 0x0)"),
        (1, "refused always (policy 0x1)"),
        (4, "refused always, as critical (policy 0x4)"),
        (0x18, "refused when memory integrity runs (policy 0x18); and while Windows is set up"),
        (None, "refused (the entry has no policy of its own)"),
    ],
)
def test_the_bits_of_the_policy(policy, effect):
    (match,) = ask(entry(policy=policy)).matches
    assert match.why == f"name bad.sys: {effect}"


def test_settings_of_a_kernel_driver_refuse_nothing():
    (match,) = ask(entry(policy=None, kind=make.KERNEL_DRIVER)).matches
    assert match.why.endswith("given compatibility settings, and not refused")


def test_data_of_any_name_hold_the_policy_and_one_that_is_called_so_comes_first():
    assert "(policy 0x20)" in ask(entry(policy=0x20, data="x")).matches[0].why
    other = (make.DATA, [(make.NAME, "Other"), (make.DATA_DWORD, 1)])
    text = (make.DATA, [(make.NAME, "Text"), (0x601E, "words")])
    both = ask(entry(policy=0x10, data="DriverPolicy", extra=(other, text)))
    assert "(policy 0x10)" in both.matches[0].why
    nameless = (make.DATA, [(make.DATA_DWORD, 0x40)])
    assert "(policy 0x40)" in ask(entry(policy=None, extra=(nameless,))).matches[0].why


def test_a_database_is_no_block_list():
    answer = ask(entry())
    assert not answer.blocks
    assert blocklisted((answer,)) is None
    assert answer.note == "what its bits mean was observed, not documented"
    assert ask(entry(name="good.sys")).note == ""


def test_an_entry_without_an_id_is_named_by_its_name():
    tags = (make.EXE, [(make.NAME, "bad.sys")])
    assert ask(tags).matches[0].rule == "bad.sys"


# ---------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not say sdbf"),
        (b"MZ" + bytes(60), "does not say sdbf"),
        (make.database(version=9), "version 9"),
        (make.database(entry())[:-9], "cut off"),
        (make.database(entry())[:60], "cut off"),
        (make.database()[:12] + b"\x00\xf0\0\0", "tag 0xf000"),
    ],
)
def test_what_is_no_database(data, why):
    with pytest.raises(InputError, match=why):
        Compatibility("x", data)


def test_a_bad_database_is_named(tmp_path):
    (tmp_path / "a.sdb").write_bytes(b"none")
    with pytest.raises(UsageError, match=r"a\.sdb: not a shim database"):
        load_database(str(tmp_path / "a.sdb"))


def test_damage_within_an_entry_is_a_doubt():
    data = bytearray(make.database(entry((make.SIZE, 5))))
    at = data.index(struct.pack("<HI", make.SIZE, 5))
    struct.pack_into("<H", data, at, 0xF001)
    answer = Compatibility("x", bytes(data)).ask(Subject(signing.read(IMAGE, NEWEST), "bad.sys"))
    assert answer.doubt.startswith("an entry about it is damaged: tag 0xf001 at offset")


def test_many_questions_are_no_hostile_database(monkeypatch):
    monkeypatch.setattr("hvci.lists.sdb._MOST_TAGS", 100)
    database = Compatibility("x", make.database(entry((make.SIZE, 5))))
    subject = Subject(signing.read(IMAGE, NEWEST), "bad.sys")
    assert not any(database.ask(subject).doubt for _ in range(50))


def test_bounds(monkeypatch):
    monkeypatch.setattr("hvci.lists.compatibility._MOST_ENTRIES", 2)
    with pytest.raises(InputError, match="more than 2 entries"):
        ask(entry(), entry(), entry())
    monkeypatch.setattr("hvci.lists.sdb._MOST_TAGS", 5)
    with pytest.raises(InputError, match="too many tags"):
        ask(entry(), entry())


def test_strings_that_lead_nowhere_are_empty():
    data = bytearray(make.database(entry()))
    at = data.index(struct.pack("<H", make.WILDCARD_NAME - 10))
    struct.pack_into("<I", data, at + 2, 0x7FFF_FFFF)
    Compatibility("x", bytes(data))


@pytest.mark.parametrize("seed", range(400))
def test_mutated_databases(seed):
    chance = random.Random(seed)
    data = bytearray(
        make.database(
            entry((make.SIZE, 5), (make.COMPANY, "V*")),
            entry((make.FILE_VERSION, 7), name="b*", wild=True, kind=make.KERNEL_DRIVER),
            (make.APP, [entry((make.NOT,), (make.CHECKSUM, 3))]),
        )
    )
    for _ in range(chance.choice((1, 2, 10))):
        data[chance.randrange(12, len(data))] = chance.choice(
            (0, 1, 0x70, 0xFF, chance.randrange(256))
        )
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    subject = Subject(signing.read(IMAGE, NEWEST), "bad.sys")
    try:
        database = Compatibility("x", bytes(data))
    except InputError as error:
        assert str(error)
        return
    database.ask(subject)

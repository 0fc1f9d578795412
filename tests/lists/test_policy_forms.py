"""Both forms of a policy read alike, and hostile ones end in one sentence."""

import random

import pytest

import signed as make
from hvci.errors import InputError, UsageError
from hvci.lists import MAX_BYTES, load_block_list
from hvci.lists.sipolicy import RuleKind
from hvci.lists.sipolicy_binary import read_binary
from hvci.lists.sipolicy_xml import read_xml
from policies import File, Policy, Signer, to_binary, to_xml

POLICY = Policy(
    files=(
        File("D1", hash="AB" * 20),
        File("D2", hash="CD" * 32),
        File("D3", least="0.0.0.0", most="1.2.3.4", names={"FileName": "ä.sys"}),
        File("A1", "Allow", least="1.0.0.0", names={"ProductName": "P & Q"}),
        File("F1", "FileAttrib", names={"InternalName": "i", "FileDescription": "d"}),
        File("P1", names={"FilePath": "*\\x.sys"}),
    ),
    signers=(
        Signer("S1", "0102", ("01082B06010505070303",), "I", "P", "O", ("F1", "D3")),
        Signer("S2", 6),
        Signer("S3", "FF" * 32),
    ),
    denied=("S1", "S2"),
    allowed=("S3",),
    excepted={"S1": ("A1",), "S3": ("D3",)},
    audit=True,
)


def said(policy):
    """A policy without what only one form has: ids and friendly names."""

    def rule(one):
        names = tuple(sorted(one.names.items()))
        return (one.kind, one.digest, names, one.least, one.most, one.path)

    def signer(one):
        attributes = tuple(map(rule, one.attributes))
        return (one.root, one.well_known, one.ekus, one.issuer, one.publisher, one.oem, attributes)

    def choice(one):
        return (signer(one.signer), tuple(map(rule, one.exceptions)))

    return {
        "title": (policy.title, policy.version, policy.audit, policy.size, policy.idle),
        "rules": [rule(one) for one in policy.rules],
        "signers": [signer(one) for one in policy.signers],
        "active": [rule(one) for one in policy.active],
        "denied": [choice(one) for one in policy.denied],
        "allowed": [choice(one) for one in policy.allowed],
    }


def test_both_forms_say_the_same():
    assert said(read_binary(to_binary(POLICY))) == said(read_xml(to_xml(POLICY)))


@pytest.mark.parametrize("form", range(1, 9))
def test_every_format_of_the_binary_form(form):
    policy = read_binary(to_binary(POLICY, form))
    assert len(policy.rules) == len(POLICY.rules)
    assert [rule.kind for rule in policy.rules][:1] == [RuleKind.DENY]
    assert policy.rules[2].most == ((1, 2, 3, 4) if form >= 3 else None)
    assert ("InternalName" in policy.rules[4].names) is (form >= 4)
    assert bool(policy.rules[5].path) is (form >= 7)


def test_a_signed_policy_is_unwrapped():
    content = make.tlv(4, to_binary(POLICY))
    wrapped = make.signature(content, "1.3.6.1.4.1.311.79.1", make.Wish(make.vendor()))
    assert said(read_binary(wrapped)) == said(read_binary(to_binary(POLICY)))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut off"),
        (b"\x63\0\0\0" + bytes(80), "format 99"),
        (b"read me first, please" + bytes(80), "this is no policy of App Control"),
        (b"\x30\x03\x02\x01\x05", "signed policy that cannot be read"),
        (to_binary(POLICY)[:-40], "cut off"),
        (to_binary(POLICY)[:100], "cut off"),
    ],
)
def test_binary_forms_that_are_none(data, why):
    with pytest.raises(InputError, match=why):
        read_binary(data)


def test_references_that_lead_nowhere():
    policy = Policy(files=(File("D", hash="AB" * 20),), active=("D",), allow_all=False)
    data = bytearray(to_binary(policy))
    at = data.rindex(b"\x01\0\0\0\0\0\0\0" + bytes(24))
    data[at + 4] = 9
    with pytest.raises(InputError, match="entry 9 of 1"):
        read_binary(bytes(data))


BOMB = """<?xml version="1.0"?><!DOCTYPE SiPolicy [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>"""
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (to_xml(POLICY, head=BOMB), "not XML that can be read"),
        (to_xml(POLICY, head=EXTERNAL), "not XML that can be read"),
        (b"<", "not XML that can be read"),
        (b"<a/>", "its root is a"),
        (to_xml(POLICY).replace(b"ABAB", b"ABAX"), "not hexadecimal"),
        (to_xml(POLICY).replace(b'"1.2.3.4"', b'"1.2.3"'), "no version"),
        (to_xml(POLICY).replace(b'"1.2.3.4"', b'"1.2.3.x"'), "no version"),
        (to_xml(POLICY).replace(b'RuleID="F1"', b'RuleID="F9"'), "does not declare"),
        (to_xml(POLICY).replace(b'SignerId="S2"', b'SignerId="S9"'), "does not declare"),
        (to_xml(POLICY).replace(b'Value="06"', b'Value="zz"'), "well-known root"),
    ],
)
def test_xml_that_is_no_policy(data, why):
    with pytest.raises(InputError, match=why):
        read_xml(data)


def test_versions_with_zeros_in_front():
    policy = Policy(files=(File("D", least="1.1.23.0405", names={"FileName": "x"}),))
    assert read_xml(to_xml(policy)).rules[0].least == (1, 1, 23, 405)


def test_rules_about_packages_are_left_out():
    data = to_xml(POLICY).replace(b"<FileRules>", b'<FileRules><FileRule ID="x"/>')
    assert said(read_xml(data)) == said(read_xml(to_xml(POLICY)))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.xml", to_xml(POLICY)),
        ("b.xml", b"\xef\xbb\xbf" + to_xml(POLICY)),
        ("c.xml", to_xml(POLICY, head="").decode().encode("utf-16")),
        ("d.p7b", to_binary(POLICY)),
        ("e.json", b'[{"Id": "1", "KnownVulnerableSamples": [{"MD5": "' + b"0a" * 16 + b'"}]}]'),
    ],
)
def test_a_list_is_known_by_its_bytes(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert load_block_list(str(tmp_path / name)).path.endswith(name)


def test_what_is_no_list(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"[]x")
    with pytest.raises(UsageError, match=r"a: not JSON"):
        load_block_list(str(tmp_path / "a"))
    with pytest.raises(UsageError, match="No such file"):
        load_block_list(str(tmp_path / "b"))
    assert MAX_BYTES > 1 << 20
    monkeypatch.setattr("hvci.lists.MAX_BYTES", 2)
    with pytest.raises(UsageError, match="too large"):
        load_block_list(str(tmp_path / "a"))


@pytest.mark.parametrize("seed", range(300))
def test_mutated_policies(seed):
    chance = random.Random(seed)
    data = bytearray(to_binary(POLICY, chance.randrange(1, 9)))
    for _ in range(chance.choice((1, 2, 10))):
        data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    try:
        read_binary(bytes(data))
    except InputError as error:
        assert str(error)

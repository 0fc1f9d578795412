"""Policies of App Control: each kind of rule, in both forms, matches exactly what it should."""

import hashlib
from dataclasses import replace

import pytest

import signed as make
from build import driver
from hvci import lists, signing
from hvci.lists.app_control import AppControl
from hvci.lists.sipolicy_binary import read_binary
from hvci.lists.sipolicy_xml import read_xml
from hvci.lists.subject import Subject
from hvci.model import NEWEST, Answer
from hvci.signing.catalog import read_catalog
from policies import File, Policy, Signer, to_binary, to_xml
from resources import with_version

IMAGE = with_version(
    driver(),
    (2, 5, 0, 1),
    OriginalFilename="Bad.sys",
    ProductName="Tool",
    InternalName="inner",
    FileDescription="A tool",
)
VENDOR = make.vendor(name="Vendor Ltd")
HARDWARE = make.microsoft(make.WHQL, name="Publisher")
WHQL_EKU = "010A2B0601040182370A0305"
FORMS = {"xml": lambda p: read_xml(to_xml(p)), "binary": lambda p: read_binary(to_binary(p))}


def subject(data, catalogs=()):
    return Subject(signing.read(data, NEWEST, catalogs), "c:\\drivers\\on_disk.sys")


def ask(policy, data, form, catalogs=()):
    return AppControl("list", FORMS[form](policy)).ask(subject(data, catalogs))


def tbs(who, alg="sha256"):
    return hashlib.new(alg, who.certificate.tbs_certificate_bytes).hexdigest().upper()


def denying(*files, **more):
    return Policy(files=tuple(files), **more)


def denying_signer(signer, *files, **more):
    return Policy(files=tuple(files), signers=(signer,), denied=(signer.id,), **more)


both = pytest.mark.parametrize("form", FORMS)


# ---------------------------------------------------------------------- hashes


@both
@pytest.mark.parametrize("alg", ["sha1", "sha256"])
def test_hashes_of_every_kind(form, alg):
    whole, name = make.signed(IMAGE, VENDOR), {"sha1": "SHA-1", "sha256": "SHA-256"}[alg]
    page = signing.read(whole, NEWEST).file.first_page(alg)
    for digest, why in (
        (make.authentihash(whole, alg), f"Authenticode {name}"),
        (page, f"{name} of its first page"),
        (hashlib.new(alg, whole).digest(), f"{name} of the file"),
    ):
        policy = denying(File("ID_DENY_X", hash=digest.hex().upper()))
        (match,) = ask(policy, whole, form).matches
        assert match.why == why
        assert (match.rule, match.title) == (
            ("ID_DENY_X", "about ID_DENY_X") if form == "xml" else ("file rule 0", "")
        )
        assert not ask(policy, driver(), form).matches


@both
def test_the_first_page_is_that_of_page_hashes(form):
    page = make.page_hashes(IMAGE, "sha256")[4:36]
    assert ask(denying(File("A", hash=page.hex())), IMAGE, form).matches


@both
def test_an_authenticode_hash_survives_another_signature(form):
    policy = denying(File("A", hash=make.authentihash(IMAGE).hex()))
    assert ask(policy, IMAGE, form).matches
    assert ask(policy, make.signed(IMAGE, VENDOR), form).matches


# ---------------------------------------------------------------------- names and versions


@both
@pytest.mark.parametrize(
    ("names", "matches"),
    [
        ({"FileName": "bad.SYS"}, True),
        ({"FileName": "on_disk.sys"}, False),
        ({"FileName": "*"}, True),
        ({"ProductName": "tool"}, True),
        ({"InternalName": "inner"}, True),
        ({"FileDescription": "A tool"}, True),
        ({"FileName": "bad.sys", "ProductName": "other"}, False),
        ({"FileName": "bad.sys", "ProductName": "Tool"}, True),
        ({"FilePath": "*\\bad.sys"}, False),
    ],
)
def test_names_of_the_version_resource(form, names, matches):
    assert bool(ask(denying(File("A", names=names)), IMAGE, form).matches) is matches


BOUNDS = [
    ("0.0.0.0", "2.5.0.1", True),
    ("0.0.0.0", "2.5.0.0", False),
    ("2.5.0.1", "65535.65535.65535.65535", True),
    ("2.5.0.2", "3.0.0.0", False),
    ("2.5.0.1", "", True),  # a minimum alone denies what is not newer
    ("65535.65535.65535.65535", "", True),
    ("2.5.0.0", "", False),
    ("", "", True),
]


@both
@pytest.mark.parametrize(("least", "most", "matches"), BOUNDS)
def test_version_bounds_of_a_denial(form, least, most, matches):
    rule = File("A", least=least, most=most, names={"FileName": "bad.sys"})
    assert bool(ask(denying(rule), IMAGE, form).matches) is matches


@pytest.mark.parametrize(("most", "matches"), [("2.5.0.1", True), ("2.5.0.2", False)])
def test_a_maximum_alone_denies_what_is_not_older(most, matches):
    """Only XML can say it: in the binary form an absent minimum is a minimum of zero."""
    rule = File("A", most=most, names={"FileName": "bad.sys"})
    assert bool(ask(denying(rule), IMAGE, "xml").matches) is matches


@both
@pytest.mark.parametrize(
    ("least", "most", "allows"),
    [
        ("2.5.0.1", "", True),
        ("2.5.0.2", "", False),
        ("2.0.0.0", "3.0.0.0", True),
        ("3.0.0.0", "4.0.0.0", False),
    ],
)
def test_version_bounds_of_an_allowance(form, least, most, allows):
    rule = File("A", "Allow", least=least, most=most, names={"FileName": "bad.sys"})
    answer = ask(denying(rule, allow_all=False), IMAGE, form)
    assert ("no rule of the policy allows it" not in answer.note) is allows
    assert not answer.matches


def test_an_allowance_up_to_a_maximum_in_xml():
    for most, allows in (("2.5.0.1", True), ("2.5.0.0", False)):
        rule = File("A", "Allow", most=most, names={"FileName": "bad.sys"})
        answer = ask(denying(rule, allow_all=False), IMAGE, "xml")
        assert ("no rule" not in answer.note) is allows


@both
def test_a_driver_without_a_version_has_version_zero_and_no_name(form):
    plain = driver()
    by_name = denying(File("A", names={"FileName": "bad.sys"}))
    assert not ask(by_name, plain, form).matches
    anything = denying(File("A", least="0.0.0.0", most="1.0.0.0", names={"FileName": "*"}))
    assert ask(anything, plain, form).matches


# ---------------------------------------------------------------------- signers


@both
@pytest.mark.parametrize("which", [0, 1])
def test_a_signer_by_any_certificate_of_the_chain(form, which):
    who = VENDOR.chain[which]
    policy = denying_signer(Signer("S", tbs(who)))
    (match,) = ask(policy, make.signed(IMAGE, VENDOR), form).matches
    assert match.why == "signed by Vendor Ltd"
    assert not ask(policy, make.signed(IMAGE, make.vendor("Else", name="V")), form).matches
    assert not ask(policy, IMAGE, form).matches


@both
@pytest.mark.parametrize("alg", ["sha256", "sha384"])
def test_a_certificate_is_named_by_its_own_hash_function(form, alg):
    who = make.vendor(name=f"by {alg}", alg=alg)
    policy = denying_signer(Signer("S", tbs(who, alg)))
    assert ask(policy, make.signed(IMAGE, who), form).matches


@both
@pytest.mark.parametrize(
    ("change", "matches"),
    [
        ({"publisher": "vendor ltd"}, True),
        ({"publisher": "Vendor"}, False),
        ({"issuer": "Some Root signing"}, True),
        ({"issuer": "Other"}, False),
        ({"oem": "The Vendor"}, True),
        ({"oem": "Another"}, False),
        ({"ekus": ("01082B06010505070303",)}, True),
        ({"ekus": (WHQL_EKU,)}, False),
        ({"publisher": "Vendor Ltd", "oem": "Another"}, False),
    ],
)
def test_every_condition_of_a_signer_must_hold(form, change, matches):
    signer = Signer("S", tbs(VENDOR.above[0]), **change)
    data = make.signed(IMAGE, VENDOR, program="The Vendor")
    assert bool(ask(denying_signer(signer), data, form).matches) is matches


@both
@pytest.mark.parametrize(
    ("attribute", "matches"),
    [
        (File("F", "FileAttrib", names={"FileName": "bad.sys"}), True),
        (File("F", "FileAttrib", names={"FileName": "good.sys"}), False),
        (File("F", "FileAttrib", "", "0.0.0.0", "2.5.0.1", {"FileName": "bad.sys"}), True),
        (File("F", "FileAttrib", "", "0.0.0.0", "2.5.0.0", {"FileName": "bad.sys"}), False),
        (File("F", "FileAttrib", "", "2.5.0.1", "", {"FileName": "bad.sys"}), True),
        (File("F", "FileAttrib", "", "2.5.0.0", "", {"FileName": "bad.sys"}), False),
        (File("F", "FileAttrib", names={"ProductName": "Tool"}), True),
    ],
)
def test_file_attributes_narrow_a_signer(form, attribute, matches):
    signer = Signer("S", tbs(VENDOR), attributes=("F",))
    answer = ask(denying_signer(signer, attribute), make.signed(IMAGE, VENDOR), form)
    assert bool(answer.matches) is matches
    if matches:
        assert answer.matches[0].why.startswith("signed by Vendor Ltd, ")


@both
def test_one_of_several_attributes_is_enough(form):
    files = [File(n, "FileAttrib", names={"FileName": f"{n}.sys"}) for n in ("a", "bad")]
    signer = Signer("S", tbs(VENDOR), attributes=("a", "bad"))
    assert ask(denying_signer(signer, *files), make.signed(IMAGE, VENDOR), form).matches


@both
def test_file_attributes_alone_deny_nothing(form):
    policy = denying(File("F", "FileAttrib", names={"FileName": "bad.sys"}))
    assert not ask(policy, make.signed(IMAGE, VENDOR), form).matches


@both
def test_a_nested_signature_is_denied_as_well(form):
    inner = make.message(IMAGE, VENDOR)
    data = make.signed(IMAGE, HARDWARE, nested=(inner,))
    assert ask(denying_signer(Signer("S", tbs(VENDOR))), data, form).matches


@both
def test_a_catalog_signs_as_well(form):
    catalog = read_catalog(make.catalog([make.authentihash(IMAGE)], VENDOR), "x.cat")
    policy = denying_signer(Signer("S", tbs(VENDOR)))
    assert ask(policy, IMAGE, form, (catalog,)).matches


@both
def test_a_broken_signature_names_nobody(form):
    data = make.signed(IMAGE, VENDOR, spoil="signature")
    assert not ask(denying_signer(Signer("S", tbs(VENDOR))), data, form).matches


@both
def test_signer_rules_work_with_rsa_only(form):
    who = make.vendor(name="Curves", kind="ec")
    assert not ask(denying_signer(Signer("S", tbs(who))), make.signed(IMAGE, who), form).matches


@both
@pytest.mark.parametrize(("number", "matches"), [(8, True), (6, False)])
def test_a_well_known_root_by_its_number(form, number, matches):
    data = make.signed(IMAGE, make.cross_signed())
    answer = ask(denying_signer(Signer("S", number)), data, form)
    assert bool(answer.matches) is matches
    assert not answer.doubt


@both
def test_exceptions_of_a_denied_signer(form):
    rule = File("E", "Allow", names={"FileName": "bad.sys"}, least="2.0.0.0")
    policy = denying_signer(Signer("S", tbs(VENDOR)), rule, excepted={"S": ("E",)}, active=())
    assert not ask(policy, make.signed(IMAGE, VENDOR), form).matches
    newer = replace(rule, least="3.0.0.0")
    policy = denying_signer(Signer("S", tbs(VENDOR)), newer, excepted={"S": ("E",)}, active=())
    assert ask(policy, make.signed(IMAGE, VENDOR), form).matches
    by_hash = File("E", "Allow", hash=make.authentihash(IMAGE).hex())
    policy = denying_signer(Signer("S", tbs(VENDOR)), by_hash, excepted={"S": ("E",)}, active=())
    assert not ask(policy, make.signed(IMAGE, VENDOR), form).matches


# ---------------------------------------------------------------------- what counts


@both
def test_a_denial_comes_before_any_allowance(form):
    allow = File("A", "Allow", hash=make.authentihash(IMAGE).hex())
    deny = File("D", names={"FileName": "bad.sys"})
    assert ask(denying(allow, deny), IMAGE, form).matches


@both
def test_a_signer_that_is_declared_and_not_denied_denies_nothing(form):
    policy = Policy(signers=(Signer("S", tbs(VENDOR)),))
    assert not ask(policy, make.signed(IMAGE, VENDOR), form).matches
    assert FORMS[form](policy).idle == 1


@both
def test_a_rule_that_nothing_refers_to_denies_nothing_and_is_told(form):
    policy = denying(File("D", hash=make.authentihash(IMAGE).hex()), active=())
    answer = ask(policy, IMAGE, form)
    assert not answer.matches
    assert "names it, but nothing refers to that rule" in answer.note
    by_name = denying(File("D", names={"FileName": "bad.sys"}), active=())
    assert "nothing refers to that rule" in ask(by_name, IMAGE, form).note


@both
def test_another_scenario_says_nothing_of_drivers(form):
    policy = denying(File("D", names={"FileName": "bad.sys"}), scenario=12)
    assert not ask(policy, IMAGE, form).matches


@both
def test_a_policy_without_a_rule_about_drivers_answers_nothing(form):
    deny = File("D", names={"FileName": "bad.sys"})
    for more in ({"scenario": 12}, {"active": ()}):
        policy = denying(deny, allow_all=False, **more)
        assert ask(policy, IMAGE, form).doubt.startswith("no rule of it is about drivers")
    allow = File("A", "Allow", names={"FileName": "other.sys"})
    allowing = Policy(signers=(Signer("S", 8),), allowed=("S",))
    signed = make.signed(IMAGE, VENDOR)
    for policy in (denying(allow), allowing, Policy()):
        assert ask(policy, signed, form).doubt.startswith("it allows drivers and denies none")
    digest = File("H", hash="00" * 32)
    for policy in (denying(deny), denying(digest), denying_signer(Signer("S", tbs(HARDWARE)))):
        assert ask(policy, signed, form).doubt == ""


@both
def test_a_policy_that_only_logs_says_so(form):
    policy = denying(File("D", names={"FileName": "bad.sys"}), audit=True)
    answer = ask(policy, IMAGE, form)
    assert answer.matches
    assert answer.note == "the policy only logs (audit mode)"
    assert answer.title == "Our policy 10.0.1.2"


@both
@pytest.mark.parametrize("who", [VENDOR, HARDWARE])
def test_allowed_signers(form, who):
    signer = Signer("S", tbs(HARDWARE), ekus=(WHQL_EKU,))
    policy = Policy(signers=(signer,), allowed=("S",), allow_all=False)
    answer = ask(policy, make.signed(IMAGE, who), form)
    assert ("no rule of the policy allows it" in answer.note) is (who is VENDOR)


@both
def test_exceptions_of_an_allowed_signer(form):
    rule = File("E", names={"FileName": "bad.sys"})
    policy = Policy((rule,), (Signer("S", 8),), (), ("S",), {"S": ("E",)}, (), allow_all=False)
    data = make.signed(IMAGE, make.cross_signed())
    assert "no rule of the policy allows it" in ask(policy, data, form).note


# ---------------------------------------------------------------------- doubt


@both
def test_no_signature_to_ask_is_a_doubt_where_the_file_is_named(form):
    attribute = File("F", "FileAttrib", names={"FileName": "bad.sys"})
    signer = Signer("S", tbs(VENDOR), attributes=("F",))
    answer = ask(denying_signer(signer, attribute), IMAGE, form)
    assert not answer.matches
    assert "give the catalog that signs it" in answer.doubt
    assert lists.blocklisted((answer,)) is Answer.UNDECIDED
    other = replace(attribute, names={"FileName": "good.sys"})
    assert not ask(denying_signer(signer, other), IMAGE, form).doubt
    assert not ask(denying_signer(Signer("S", tbs(VENDOR))), IMAGE, form).doubt


@both
def test_a_root_that_cannot_be_told_is_a_doubt(form):
    answer = ask(denying_signer(Signer("S", 0x0E)), make.signed(IMAGE, VENDOR), form)
    assert "well-known root that hvci cannot tell" in answer.doubt


def test_many_matches_are_bounded():
    files = [File(f"D{n}", names={"FileName": "bad.sys"}) for n in range(40)]
    assert len(ask(denying(*files), IMAGE, "xml").matches) == 16

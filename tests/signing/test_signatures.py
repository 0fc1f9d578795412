"""Who signed an image: every class, every way to be damaged, and what shows of each signature."""

import struct
from dataclasses import replace

import pytest

import signature_oracle as oracle
import signed as make
from build import driver
from hvci import signing
from hvci.errors import CatalogError
from hvci.model import NEWEST, DriverPolicy, Machine, Signature, Signed, WindowsVersion
from hvci.signing import anchors, policy
from hvci.signing.certificate import Certificate
from hvci.signing.der import element

IMAGE = driver()
HARDWARE = make.microsoft(make.WHQL, make.EXTENDED)
CHAINS = {
    Signed.HARDWARE: HARDWARE,
    Signed.ATTESTATION: make.microsoft(make.WHQL, make.ATTESTED, name="Attested"),
    Signed.EARLY_LAUNCH: make.microsoft(make.EARLY, make.WHQL, name="Early"),
    Signed.IN_BOX: make.microsoft(make.COMPONENT, name="Microsoft Windows"),
    Signed.CROSS_SIGNED: make.cross_signed(),
    Signed.OTHER: make.vendor(),
    Signed.TEST: make.test_signed(),
}


def trust(data, catalogs=(), target=NEWEST):
    return signing.read(data, target, catalogs).trust


def only(data):
    (one,) = trust(data).signatures
    return one


@pytest.fixture
def known(monkeypatch):
    """The self-made authority stands for Microsoft's."""
    keys = {each.key_hash for each in read_chain(HARDWARE)}
    monkeypatch.setattr(anchors, "keys", lambda: frozenset(keys))


def read_chain(who):
    (read,) = signing.read(make.signed(IMAGE, who), NEWEST).reads
    return read.message.issuers


# ---------------------------------------------------------------------- classes


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("machine", ["x64", "x86", "arm64"])
def test_each_class_is_told_as_the_oracle_tells_it(kind, machine):
    data = make.signed(driver(machine), CHAINS[kind])
    found = trust(data)
    assert found.signed is kind
    assert oracle.classes(data) == [kind]
    assert oracle.digests_match(data)
    assert only(data).digest_matches is True


def test_a_file_without_a_table_is_not_signed():
    found = trust(IMAGE)
    assert (found.signed, found.signatures) == (Signed.NONE, ())
    assert found.reason == "no signature in the file"
    assert found.authentihash == make.authentihash(IMAGE).hex()


@pytest.mark.parametrize(
    "name",
    ["WDKTestCert a,1", "Windows OEM Test Cert 2017 (TEST ONLY)"],
)
def test_a_test_authority_makes_a_test_signature(name):
    assert trust(make.signed(IMAGE, make.vendor("Root", name=name))).signed is Signed.TEST


def test_a_certificate_that_vouches_for_itself_is_never_the_hardware_program():
    own = make.authority("Microsoft Windows Hardware Compatibility Publisher", usages=(make.WHQL,))
    assert trust(make.signed(IMAGE, own)).signed is Signed.TEST


def test_names_alone_prove_nothing():
    found = trust(make.signed(IMAGE, HARDWARE))
    assert (found.signed, found.driver_policy) == (Signed.HARDWARE, DriverPolicy.UNDECIDED)
    assert "says so itself" in found.reason
    assert not found.signatures[0].anchored


def test_an_authority_that_is_known_by_its_key_is_proof(known):
    found = trust(make.signed(IMAGE, HARDWARE, program="Vendor GmbH"))
    assert (found.signed, found.driver_policy) == (Signed.HARDWARE, DriverPolicy.PASSES)
    assert "(Vendor GmbH)" in found.reason
    assert "itself" not in found.reason


def test_an_authority_that_a_root_of_microsoft_made_is_proof(monkeypatch):
    root = Certificate(element(make.absent("Microsoft Root").der))
    monkeypatch.setattr(anchors, "roots", lambda: (root,))
    assert trust(make.signed(IMAGE, HARDWARE)).driver_policy is DriverPolicy.PASSES
    stranger = make.vendor("Other Root", name="P", usages=(make.WHQL,))
    assert trust(make.signed(IMAGE, stranger)).driver_policy is DriverPolicy.UNDECIDED


def test_a_signer_that_makes_certificates_proves_nothing(known):
    """Its own certificate is real; what it makes of its key is not Microsoft's."""
    forged = make.authority("Forged", HARDWARE, usages=(make.CODE_SIGNING, make.WHQL))
    found = trust(make.signed(IMAGE, forged))
    assert (found.signed, found.driver_policy) == (Signed.HARDWARE, DriverPolicy.UNDECIDED)


def test_the_roots_of_microsoft_vouch_for_themselves():
    names = {root.name for root in anchors.roots()}
    assert {"Microsoft Root Authority", "Microsoft Root Certificate Authority 2010"} <= names
    assert all(root.own_issuer for root in anchors.roots())
    assert all(root.signed_by(root) in (True, None) for root in anchors.roots())
    assert not anchors.keys() & {root.key_hash for root in anchors.roots()}


def test_a_bad_row_of_authorities_is_named(monkeypatch):
    monkeypatch.setattr(anchors, "data_text", lambda _: '[[authority]]\nname = "x"\nkey = "1"\n')
    anchors.keys.cache_clear()
    with pytest.raises(CatalogError, match=r"anchors.toml: source is missing"):
        anchors.keys()
    anchors.keys.cache_clear()


def test_a_real_authority_beside_a_forged_leaf_is_no_proof(known):
    """The enclosed certificate of the authority did not make this leaf."""
    (middle,) = HARDWARE.above
    forger = make.authority("forger")
    forged = make.authority("Publisher", replace(middle, key=forger.key), usages=(make.WHQL,))
    found = trust(make.signed(IMAGE, forged))
    assert (found.signed, found.driver_policy) == (Signed.DAMAGED, DriverPolicy.REFUSED)
    assert "was not made by" in found.signatures[0].problem


def test_a_proven_signature_counts_before_one_that_only_claims(known):
    (middle,) = HARDWARE.above
    attested = make.authority("Attested 2", middle, usages=(make.WHQL, make.ATTESTED))
    stranger = make.vendor("Stranger", name="P", usages=(make.WHQL,))
    both = make.attached(IMAGE, make.message(IMAGE, stranger), make.message(IMAGE, attested))
    found = trust(both)
    assert (found.signed, found.driver_policy) == (Signed.ATTESTATION, DriverPolicy.PASSES)


# ---------------------------------------------------------------------- several


def test_nested_signatures_count_as_much():
    inner = make.message(IMAGE, CHAINS[Signed.ATTESTATION])
    deeper = make.message(IMAGE, CHAINS[Signed.CROSS_SIGNED], nested=(inner,))
    data = make.signed(IMAGE, make.vendor(), alg="sha1", nested=(deeper,))
    found = trust(data)
    assert [one.signed for one in found.signatures] == ["other", "cross-signed", "attestation"]
    assert [one.place for one in found.signatures] == [
        "embedded 1",
        "embedded 1 nested 1",
        "embedded 1 nested 2",
    ]
    assert found.signed is Signed.ATTESTATION
    assert oracle.classes(data) == sorted(one.signed for one in found.signatures)


def test_many_signatures_are_bounded():
    nested = tuple(make.message(IMAGE, make.vendor()) for _ in range(80))
    assert len(trust(make.signed(IMAGE, make.vendor(), nested=nested)).signatures) == 64


def test_several_entries_of_the_table():
    data = make.attached(
        IMAGE, make.message(IMAGE, make.vendor()), make.message(IMAGE, make.cross_signed())
    )
    assert [one.signed for one in trust(data).signatures] == ["other", "cross-signed"]


def test_one_damaged_signature_among_good_ones_is_told():
    bad = make.message(IMAGE, make.cross_signed(), spoil="signature")
    found = trust(make.signed(IMAGE, make.vendor(), nested=(bad,)))
    assert found.signed is Signed.OTHER
    assert "1 of 2 signatures damaged" in found.reason


# ---------------------------------------------------------------------- damage


def test_an_altered_file_is_damaged():
    data = bytearray(make.signed(IMAGE, HARDWARE))
    data[0x410] ^= 1
    one = only(bytes(data))
    assert (one.signed, one.digest_matches) == (Signed.DAMAGED, False)
    assert "altered after signing" in one.problem
    assert "the signature is damaged: it belongs to other bytes" in trust(bytes(data)).reason


def test_the_checksum_may_change():
    data = bytearray(make.signed(IMAGE, HARDWARE))
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    struct.pack_into("<I", data, pe + 88, 0x12345678)
    assert only(bytes(data)).digest_matches is True


def test_bytes_behind_the_table_are_part_of_the_file():
    assert only(make.signed(IMAGE, HARDWARE) + b"payload!").signed is Signed.DAMAGED


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("signature", "not made by the certificate's key"),
        ("digest", "what it says of the file was altered"),
        ("leaf", "the certificate that signed is missing"),
    ],
)
def test_each_broken_part_is_damage(spoil, why):
    one = only(make.signed(IMAGE, HARDWARE, spoil=spoil))
    assert one.signed is Signed.DAMAGED
    assert why in one.problem


@pytest.mark.parametrize("cut", [1, 9, 40, 400, 900])
def test_a_truncated_file_is_damaged(cut):
    found = trust(make.signed(IMAGE, HARDWARE)[:-cut])
    assert found.signed is Signed.DAMAGED
    assert found.driver_policy is DriverPolicy.REFUSED


@pytest.mark.parametrize("cut", [1, 30, 500, 1000])
def test_a_truncated_message_is_damaged(cut):
    one = only(make.attached(IMAGE, make.message(IMAGE, HARDWARE)[:-cut]))
    assert one.signed is Signed.DAMAGED
    assert "cannot be read" in one.problem


@pytest.mark.parametrize(
    "table",
    [
        struct.pack("<IHH", 16, 0x200, 1) + bytes(8),  # an X.509 certificate, no signature
        struct.pack("<IHH", 4, 0x200, 2) + bytes(8),
        struct.pack("<IHH", 0xFFFF, 0x200, 2) + bytes(8),
        struct.pack("<IHH", 16, 0x200, 2) + b"\x30\x82\xff\xff" + bytes(4),
        struct.pack("<IHH", 16, 0x200, 2) + make.sequence(make.oid("1.2.3"), b"\x05\x00"),
        bytes(64),
    ],
)
def test_a_table_of_nonsense_is_damaged(table):
    assert trust(driver(signature=table)).signed is Signed.DAMAGED


def test_a_table_within_the_headers_is_damaged():
    data = bytearray(IMAGE)
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    struct.pack_into("<II", data, pe + 24 + 112 + 32, 0x40, 0x100)
    assert "outside the file" in only(bytes(data)).problem


def test_a_signature_of_something_else_is_damaged():
    content = make.indirect(make.authentihash(IMAGE), "sha256")
    other = make.signature(content, "1.2.840.113549.1.7.1", make.Wish(HARDWARE))
    assert "does not sign a file" in only(make.attached(IMAGE, other)).problem


def test_an_unknown_hash_is_damage():
    content = make.indirect(bytes(16), "sha256").replace(
        make.oid(make.OIDS["sha256"]), make.oid("2.16.840.1.101.3.4.2.9")
    )
    message = make.signature(content, "1.3.6.1.4.1.311.2.1.4", make.Wish(HARDWARE))
    assert "hash function" in only(make.attached(IMAGE, message)).problem


# ---------------------------------------------------------------------- what shows


@pytest.mark.parametrize("stamp", ["token", "countersignature"])
@pytest.mark.parametrize("alg", ["sha1", "sha256", "sha384"])
def test_facts_of_a_signature(stamp, alg):
    one = only(make.signed(IMAGE, HARDWARE, stamp=stamp, alg=alg, program="Some Vendor"))
    assert one == Signature(
        "embedded 1",
        Signed.HARDWARE,
        signer=HARDWARE.name,
        chain=("Microsoft Root signing",),
        submitter="Some Vendor",
        digest_algorithm=alg,
        digest=make.authentihash(IMAGE, alg).hex(),
        digest_matches=True,
        ekus=(make.EXTENDED, make.WHQL, make.CODE_SIGNING),
        not_before="2020-01-01T00:00:00Z",
        not_after="2030-01-01T00:00:00Z",
        timestamp="2024-05-06T07:08:09Z",
        in_time=True,
    )


def test_no_time_stamp_is_told_with_the_end_of_the_certificate():
    found = trust(make.signed(IMAGE, HARDWARE, stamp=""))
    assert (found.signatures[0].timestamp, found.signatures[0].in_time) == ("", None)
    assert "no time stamp, certificate good until 2030-01-01" in found.reason


@pytest.mark.parametrize("stamp", ["token", "countersignature"])
def test_a_time_stamp_of_other_bytes_is_none(stamp):
    assert only(make.signed(IMAGE, HARDWARE, stamp=stamp, spoil="stamp")).timestamp == ""


def test_a_time_stamp_after_the_certificate_expired_is_told():
    found = trust(make.signed(IMAGE, HARDWARE, spoil="late"))
    assert found.signatures[0].in_time is False
    assert "outside the life of the certificate" in found.reason


@pytest.mark.parametrize("alg", ["sha1", "sha256"])
def test_page_hashes_are_counted_and_compared(alg):
    pages = only(make.signed(IMAGE, HARDWARE, pages=True, alg=alg)).page_hashes
    assert (pages.algorithm, pages.match) == (alg, True)
    assert pages.pages == len(make.page_hashes(IMAGE, alg)) // (24 if alg == "sha1" else 36) - 1


def test_wrong_page_hashes_are_told():
    digest = make.authentihash(IMAGE)
    other = driver(pool_type=1)
    message = make.message(other, HARDWARE, pages=True, digest=digest)
    found = trust(make.attached(IMAGE, message))
    assert found.signatures[0].page_hashes.match is False
    assert "page hashes do not match" in found.reason


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_keys_of_both_kinds_are_checked(kind):
    leaf = make.vendor(name=f"Leaf {kind}", kind=kind)
    assert only(make.signed(IMAGE, leaf)).signed is Signed.OTHER
    assert only(make.signed(IMAGE, leaf, spoil="signature")).signed is Signed.DAMAGED


# ---------------------------------------------------------------------- the policy


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (Signed.HARDWARE, DriverPolicy.PASSES),
        (Signed.ATTESTATION, DriverPolicy.PASSES),
        (Signed.EARLY_LAUNCH, DriverPolicy.PASSES),
        (Signed.IN_BOX, DriverPolicy.PASSES),
        (Signed.CROSS_SIGNED, DriverPolicy.ALLOW_LISTED),
        (Signed.OTHER, DriverPolicy.REFUSED),
        (Signed.TEST, DriverPolicy.REFUSED),
        (Signed.DAMAGED, DriverPolicy.REFUSED),
    ],
)
def test_the_policy_by_class(kind, answer):
    one = Signature("embedded 1", kind, anchored=True)
    assert policy.driver_policy(one, Machine.X64, NEWEST)[0] is answer


@pytest.mark.parametrize(
    ("target", "applies"),
    [
        (WindowsVersion.WINDOWS_10_1507, False),
        (WindowsVersion.WINDOWS_11_23H2, False),
        (WindowsVersion.SERVER_23H2, False),
        (WindowsVersion.WINDOWS_11_24H2, True),
        (WindowsVersion.WINDOWS_11_25H2, True),
        (WindowsVersion.WINDOWS_11_26H1, True),
    ],
)
def test_the_policy_begins_with_24h2(target, applies):
    found, _ = policy.driver_policy(None, Machine.X64, target)
    assert (found is DriverPolicy.REFUSED) is applies
    assert (found is DriverPolicy.NOT_APPLICABLE) is not applies


def test_the_policy_never_meets_x86():
    assert policy.driver_policy(None, Machine.X86, NEWEST)[0] is DriverPolicy.NOT_APPLICABLE

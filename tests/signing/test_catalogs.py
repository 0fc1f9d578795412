"""Catalogs: which drivers they cover, in both forms, and what is no catalog."""

import hashlib

import pytest
from click.testing import CliRunner

import signed as make
from build import driver
from hvci import signing
from hvci.cli import main
from hvci.errors import InputError, UsageError
from hvci.model import NEWEST, DriverPolicy, Signed
from hvci.signing import anchors
from hvci.signing.catalog import catalogs_of, load_catalogs, read_catalog

IMAGE = driver()
HARDWARE = make.microsoft(make.WHQL)


def covering(*digests, **more):
    return read_catalog(make.catalog(digests, HARDWARE, **more), "driver.cat")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("alg", ["sha1", "sha256"])
def test_a_member_is_signed_by_its_catalog(alg, old):
    catalog = covering(bytes(20), make.authentihash(IMAGE, alg), old=old)
    found = signing.read(IMAGE, NEWEST, (catalog,)).trust
    (one,) = found.signatures
    assert (found.signed, one.place, one.digest_algorithm) == (Signed.HARDWARE, "driver.cat", alg)
    assert one.digest_matches is True
    assert "by catalog driver.cat" in found.reason


def test_a_catalog_of_other_files_says_nothing():
    found = signing.read(IMAGE, NEWEST, (covering(bytes(20)), covering(bytes(32)))).trust
    assert (found.signed, found.catalogs) == (Signed.NONE, 2)
    assert "none of 2 catalogs lists it" in found.reason


def test_a_file_of_a_package_that_is_no_catalog_is_named():
    good = ("b/driver.cat", make.catalog([bytes(20)], HARDWARE))
    junk = [(f"a.zip!b\\{name}.cat", b"junk") for name in "xy"]
    found = signing.read(IMAGE, NEWEST, tuple(catalogs_of([good, *junk]))).trust
    assert (found.signed, found.catalogs) == (Signed.NONE, 1)
    assert found.reason == (
        "no signature in the file, and none of 1 catalogs lists it; "
        "x.cat (and 1 more) is no catalog that can be read"
    )
    alone = signing.read(IMAGE, NEWEST, tuple(catalogs_of(junk[1:]))).trust
    assert alone.reason == "no signature in the file; y.cat is no catalog that can be read"
    signed = make.signed(IMAGE, make.cross_signed())
    both = [signing.read(signed, NEWEST, tuple(catalogs_of(each))).trust for each in (junk, [])]
    assert both[0] == both[1]


def test_a_catalog_lists_images_by_authenticode_and_not_by_their_bytes():
    catalog = covering(hashlib.sha256(IMAGE).digest())
    assert signing.read(IMAGE, NEWEST, (catalog,)).trust.signed is Signed.NONE


def test_a_catalog_of_the_hardware_program_lifts_a_cross_signed_driver(monkeypatch):
    data = make.signed(IMAGE, make.cross_signed())
    catalog = covering(make.authentihash(IMAGE))
    (authority,) = catalog.message.issuers
    monkeypatch.setattr(anchors, "keys", lambda: frozenset((authority.key_hash,)))
    alone = signing.read(data, NEWEST).trust
    both = signing.read(data, NEWEST, (covering(make.authentihash(IMAGE)),)).trust
    assert alone.driver_policy is DriverPolicy.ALLOW_LISTED
    assert (both.signed, both.driver_policy) == (Signed.HARDWARE, DriverPolicy.PASSES)


def test_a_broken_catalog_counts_as_damaged():
    catalog = covering(make.authentihash(IMAGE), spoil="signature")
    assert signing.read(IMAGE, NEWEST, (catalog,)).trust.signed is Signed.DAMAGED


def test_files_and_folders(tmp_path):
    inner = tmp_path / "deep"
    inner.mkdir()
    whole = make.catalog([bytes(20)], HARDWARE)
    (inner / "A.CAT").write_bytes(whole)
    (tmp_path / "b.cat").write_bytes(b"none")
    (tmp_path / "c.sys").write_bytes(whole)
    assert [each.path for each in load_catalogs((str(tmp_path),))] == [str(inner / "A.CAT")]
    assert len(load_catalogs((str(tmp_path / "c.sys"),))) == 1
    with pytest.raises(InputError, match="not a catalog"):
        load_catalogs((str(tmp_path / "b.cat"),))
    with pytest.raises(UsageError):
        load_catalogs((str(tmp_path / "missing.cat"),))


def test_a_catalog_has_a_limit(tmp_path, monkeypatch):
    (tmp_path / "a.cat").write_bytes(bytes(200))
    monkeypatch.setattr("hvci.signing.catalog.MAX_BYTES", 100)
    with pytest.raises(InputError, match="too large"):
        load_catalogs((str(tmp_path / "a.cat"),))


def test_a_folder_with_more_catalogs_than_are_read_is_refused(tmp_path, monkeypatch):
    """What the others sign would be called unsigned."""
    monkeypatch.setattr("hvci.signing.catalog.MOST_CATALOGS", 1)
    for name in ("a.cat", "b.cat"):
        (tmp_path / name).write_bytes(make.catalog([bytes(20)], HARDWARE))
    with pytest.raises(UsageError, match="more than 1 catalogs"):
        load_catalogs((str(tmp_path),))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        make.message(IMAGE, HARDWARE),
        make.catalog([], HARDWARE),
        make.catalog([bytes(20)], HARDWARE)[:-300],
    ],
)
def test_what_is_no_catalog_is_refused_in_one_sentence(data):
    with pytest.raises(InputError, match=r"^x\.cat: not a catalog: .+"):
        read_catalog(data, "x.cat")


def test_the_command_line_takes_catalogs(tmp_path):
    (tmp_path / "a.sys").write_bytes(IMAGE)
    (tmp_path / "a.cat").write_bytes(make.catalog([make.authentihash(IMAGE)], HARDWARE))
    words = ["check", str(tmp_path / "a.sys"), "--no-config", "--catalog", str(tmp_path)]
    result = CliRunner().invoke(main, words)
    assert "signed hardware: Signed by Microsoft" in " ".join(result.stdout.split())

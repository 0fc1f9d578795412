"""The class of each signature of a file, found again by other means: asn1crypto's types and LIEF.

Shares no code with hvci. `classes` walks the messages with asn1crypto, `digests_match` asks LIEF.
"""

from __future__ import annotations

import struct

import lief
from asn1crypto import cms

HARDWARE, NESTED = "1.3.6.1.4.1.311.10.3.5", "1.3.6.1.4.1.311.2.4.1"
TEST_MARKS = ("WDKTestCert", "TEST ONLY", "Microsoft Testing Root", "Microsoft Test Root")


def messages(data):
    """The messages of the certificate table."""
    pe = struct.unpack_from("<I", data, 60)[0]
    wide = struct.unpack_from("<H", data, pe + 24)[0] == 0x20B
    at, size = struct.unpack_from("<II", data, pe + 24 + (112 if wide else 96) + 32)
    end = at + size
    while at and at + 8 <= end:
        length, _, kind = struct.unpack_from("<IHH", data, at)
        if length < 8:
            return
        if kind == 2:
            yield data[at + 8 : at + length]
        at += (length + 7) & ~7


def classes(data):
    """The class of every signature, sorted."""
    found = []
    todo = [cms.ContentInfo.load(message) for message in messages(data)]
    for info in todo:
        signed = info["content"]
        signer = signed["signer_infos"][0]
        found.append(_class(signed, signer))
        for attribute in signer["unsigned_attrs"] or ():
            if attribute["type"].dotted == NESTED:
                todo += [cms.ContentInfo.load(value.dump()) for value in attribute["values"]]
    return sorted(found)


def _class(signed, signer):
    certificates = [each.chosen for each in signed["certificates"] if each.name == "certificate"]
    wanted = signer["sid"].chosen
    leaf = next(
        each
        for each in certificates
        if each.issuer == wanted["issuer"] and each.serial_number == wanted["serial_number"].native
    )
    usages = {usage.dotted for usage in leaf.extended_key_usage_value or ()}
    chain = _chain(leaf, certificates)
    names = [_common(name) for each in chain for name in (each.subject, each.issuer)]
    if leaf.issuer == leaf.subject or any(mark in name for name in names for mark in TEST_MARKS):
        return "test"
    if "1.3.6.1.4.1.311.61.4.1" in usages:
        return "early-launch"
    if HARDWARE + ".1" in usages:
        return "attestation"
    if HARDWARE in usages:
        return "hardware"
    if "1.3.6.1.4.1.311.10.3.6" in usages:
        return "in-box"
    return "cross-signed" if "Microsoft Code Verification Root" in names else "other"


def _chain(leaf, certificates):
    chain = [leaf]
    for one in chain:
        chain += [each for each in certificates if each.subject == one.issuer and each not in chain]
    return chain


def _common(name):
    return str(name.native.get("common_name", ""))


def digests_match(data):
    """Whether each outer signature belongs to the file, as LIEF computes it."""
    binary = lief.PE.parse(list(data))
    return all(
        binary.authentihash(each.digest_algorithm) == bytes(each.content_info.digest)
        for each in binary.signatures
    )

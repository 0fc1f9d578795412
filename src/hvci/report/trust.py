"""What a report says about signatures and lists, in words and as fields; decides nothing.

Every output takes its rows and lines from here.
"""

from __future__ import annotations

from typing import Any

from hvci.model import DriverPolicy, PageHashes, Report, Signature, Signed, Trust
from hvci.report import lists, package
from hvci.report.fields import Fields
from hvci.report.safe import safe

Json = dict[str, Any]

_USAGES = {
    "1.3.6.1.5.5.7.3.3": "code signing",
    "1.3.6.1.4.1.311.10.3.5": "Windows hardware driver verification",
    "1.3.6.1.4.1.311.10.3.5.1": "Windows hardware driver attested verification",
    "1.3.6.1.4.1.311.10.3.6": "Windows system component verification",
    "1.3.6.1.4.1.311.10.3.39": "Windows hardware driver extended verification",
    "1.3.6.1.4.1.311.61.4.1": "early launch anti-malware driver",
    "1.3.6.1.4.1.311.2.1.22": "commercial code signing",
}


def rows(report: Report) -> list[tuple[str, str, str]]:
    """Name, answer and sentence of each answer about trust."""
    trust = report.trust
    if trust is None:
        return [*package.rows(report), *lists.rows(report)]
    return [
        *package.rows(report),
        ("signed", trust.signed.value, _sentence(trust.reason)),
        ("driver policy", trust.driver_policy.value, _sentence(trust.policy_reason)),
        *lists.rows(report),
    ]


def _sentence(text: str) -> str:
    shown = safe(text, 1000)
    return f"{shown[:1].upper()}{shown[1:].rstrip('.')}."


def words(report: Report) -> dict[str, str]:
    """The answers as single words, for machines."""
    trust = report.trust
    if trust is None:
        return {}
    return {"signed": trust.signed.value, "driver_policy": trust.driver_policy.value}


def lines(report: Report) -> list[str]:
    """One line for each signature."""
    return [_line(each) for each in report.trust.signatures] if report.trust else []


def _line(one: Signature) -> str:
    parts = [f"{one.place}: {one.signed.value}", one.problem]
    if one.signer:
        parts.append(" < ".join(("signed by " + one.signer, *one.chain)))
    parts.append(f"submitted by {one.submitter}" if one.submitter else "")
    parts.append(_digest(one))
    if one.page_hashes:
        fit = "match" if one.page_hashes.match else "do NOT match"
        parts.append(f"{one.page_hashes.pages} page hashes ({one.page_hashes.algorithm}) {fit}")
    usages = ", ".join(_USAGES.get(usage, usage) for usage in one.ekus)
    parts.append(f"for {usages}" if usages else "")
    if one.not_after:
        stamp = f"time stamp {one.timestamp}" if one.timestamp else "no time stamp"
        late = ", outside it" if one.in_time is False else ""
        parts.append(f"certificate {one.not_before[:10]} to {one.not_after[:10]}, {stamp}{late}")
    return safe("; ".join(part for part in parts if part), 2000)


def _digest(one: Signature) -> str:
    if one.digest_matches is None:
        return ""
    return f"{one.digest_algorithm} digest {'matches' if one.digest_matches else 'does NOT match'}"


def fields(trust: Trust) -> Json:
    """The answer as JSON."""
    return {
        "signed": trust.signed,
        "reason": trust.reason,
        "driver_policy": trust.driver_policy,
        "policy_reason": trust.policy_reason,
        "authentihash": trust.authentihash,
        "catalogs": trust.catalogs,
        "signatures": [_signature(each) for each in trust.signatures],
    }


def _signature(one: Signature) -> Json:
    pages = one.page_hashes
    return {
        "place": one.place,
        "signed": one.signed,
        "problem": one.problem,
        "signer": one.signer,
        "chain": list(one.chain),
        "anchored": one.anchored,
        "submitter": one.submitter,
        "digest_algorithm": one.digest_algorithm,
        "digest": one.digest,
        "digest_matches": one.digest_matches,
        "page_hashes": None
        if pages is None
        else {"algorithm": pages.algorithm, "count": pages.pages, "match": pages.match},
        "ekus": list(one.ekus),
        "not_before": one.not_before,
        "not_after": one.not_after,
        "timestamp": one.timestamp,
        "in_time": one.in_time,
    }


def read(fields: Fields) -> Trust:
    """The inverse of `fields`."""
    return Trust(
        fields.word("signed", Signed),
        fields.take("reason", str),
        fields.word("driver_policy", DriverPolicy),
        fields.take("policy_reason", str),
        fields.items("signatures", _read_signature),
        fields.take("authentihash", str),
        fields.take("catalogs", int),
    )


def _read_signature(fields: Fields) -> Signature:
    return Signature(
        place=fields.take("place", str),
        signed=fields.word("signed", Signed),
        problem=fields.take("problem", str),
        signer=fields.take("signer", str),
        chain=fields.plain("chain", str),
        anchored=fields.take("anchored", bool),
        submitter=fields.take("submitter", str),
        digest_algorithm=fields.take("digest_algorithm", str),
        digest=fields.take("digest", str),
        digest_matches=fields.maybe("digest_matches", bool),
        page_hashes=fields.maybe_nested("page_hashes", _read_pages),
        ekus=fields.plain("ekus", str),
        not_before=fields.take("not_before", str),
        not_after=fields.take("not_after", str),
        timestamp=fields.take("timestamp", str),
        in_time=fields.maybe("in_time", bool),
    )


def _read_pages(fields: Fields) -> PageHashes:
    algorithm, count = fields.take("algorithm", str), fields.take("count", int)
    return PageHashes(algorithm, count, fields.take("match", bool))

"""What an event says of a driver: which file, which check, what became of it, with what numbers.

Knows the fields and the English messages of the providers in `data/gates.toml`. The failure bitmap
is kept as it stands: which bit means what is not published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hvci.catalog.gates import gates
from hvci.logs.events import Event
from hvci.model.gates import Effect, Gate, Kind, Sign, same_provider
from hvci.report.identity import short_name
from hvci.report.safe import safe

CODE_INTEGRITY = "Microsoft-Windows-CodeIntegrity"
KERNEL_PNP, KERNEL_XDV = "Microsoft-Windows-Kernel-PnP", "Microsoft-Windows-Kernel-XDV"
SERVICES, BUGCHECK = "Service Control Manager", "Microsoft-Windows-WER-SystemErrorReporting"
BY_POLICY_ID = (3076, 3077)
PROBLEM_STARTING = 411
KERNEL_SCENARIO = "0"
"""SI signing scenario of kernel files; 1 is user mode."""
_PATH = r"((?:\\|[A-Za-z]:)[^\"<>|*?]*?\.\w{2,4}|[\w.+-]+\.sys)"
_LOADED = re.compile(rf"attempted to load {_PATH}(?= that\b|$)", re.IGNORECASE)
_MODULE = re.compile(
    rf"(?:the (?:kernel )?module|file|kernel module|image) {_PATH}(?=\s|\.|$)", re.I
)
_DEVICE_PATH = re.compile(r"(\\Device\\[^\"<>|*?:]*?\.sys)\b", re.IGNORECASE)
"""Of messages in other languages."""
_GUID = re.compile(r"\{([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}", re.IGNORECASE)
_POLICY = re.compile(r"policy id\s*:?\s*\{?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.I)
_STATUS = re.compile(r"status:?\s*(0x[0-9a-f]{8}|0x0)\b", re.IGNORECASE)
"""Whole numbers only: lists fold long lines."""
_BITMAP = re.compile(r"failure bitmap\s*:?\s*(.*?)\.?\s*(?:status\b|$)", re.IGNORECASE)
_PNP = re.compile(r"driver \\Driver\\(\S+) failed to load for the device (\S+?)\.?(?:\s|$)", re.I)
_PROBLEM = re.compile(r"problem:\s*(0x[0-9a-f]+|\d+)", re.IGNORECASE)
_OF_SERVICE = re.compile(r"service:\s*([\w.+-]+)", re.IGNORECASE)
_OF_PACKAGE = re.compile(r"\b(oem\d+\.inf)\b", re.IGNORECASE)
_ERROR = re.compile(r"%%(\d{1,5})")
_SERVICE = re.compile(r"The (.+?) service failed to start", re.IGNORECASE)
_INTEGRITY_RULE = re.compile(
    r"code integrity|executable (?:pool|page|mdl|section|and writable)|not page aligned|"
    r"import address table",
    re.IGNORECASE,
)
_MESSAGES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("non-page aligned sections", (3072,)),
    ("strict mode hypervisor enforcement", (3073,)),
    ("verify a page for a module", (3074,)),
    ("not compatible with hypervisor enforcement", (3111, 3087)),
    ("violated code integrity policy (Policy ID", (3077, 3076)),
    ("violated Driver policy", (3081, 3080)),
    ("file hash could not be found", (3004,)),
    ("per-page image hashes could not be found", (3002,)),
    ("signing certificate has been revoked", (3036, 3023)),
    ("signing level requirements", (3033, 3034)),
    ("WHQL requirements", (3083, 3082)),
    ("failed to load for the device", (219,)),
)
"""What a message says, and the events that say so: the enforced one first, then its audit."""
_ALLOWED = "the image was allowed to load"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one event or log line says of one driver."""

    driver: str
    """File name; of the service where no file is named."""
    sign: Sign
    gate: Gate | None
    effect: Effect
    facts: tuple[str, ...] = ()
    path: str = ""
    status: int | None = None
    bitmap: str = ""
    layouts: tuple[str, ...] = ()
    """Names that Windows printed for the bitmap."""
    activity: str = ""
    time: str = ""
    device: str = ""
    package: str = ""
    sha256: str = ""
    """Of the file, as a signature would hold it."""
    rule: str = ""
    """The rule that finds the cause of a bug check."""


def identified(event: Event) -> Event | None:
    """The event with its provider, which tables leave out; None when it is none of ours."""
    if not event.provider:
        signs = [sign for sign in gates().signs if sign.kind is Kind.EVENT and sign.id == event.id]
        return replace(event, provider=signs[0].provider) if signs else None
    return event if gates().find(Kind.EVENT, event.id, event.provider) else None


def quoted(lines: list[str]) -> Iterator[Event]:
    """Messages of events in text that names no id; an audit tells itself by what it says."""
    for line in lines:
        for words, ids in _MESSAGES:
            if words in line:
                audit = _ALLOWED in line and len(ids) > 1
                provider = KERNEL_PNP if ids[0] == 219 else CODE_INTEGRITY
                yield Event(provider, ids[audit], message=line.strip())
                break


def seen(event: Event) -> Iterator[Seen]:
    """What an event says of drivers; nothing for events of programs, or of no file."""
    sign = gates().find(Kind.EVENT, event.id, event.provider)
    if sign is None or sign.effect is Effect.NOTE:
        return
    if same_provider(event.provider, CODE_INTEGRITY) or sign.id == 5038:
        yield from _code_integrity(event, sign)
    elif same_provider(event.provider, KERNEL_PNP):
        starting = event.id == PROBLEM_STARTING
        yield from _starting(event, sign) if starting else _kernel_pnp(event, sign)
    elif same_provider(event.provider, KERNEL_XDV):
        yield from _verifier(event, sign)
    elif same_provider(event.provider, SERVICES):
        yield from _service(event, sign)


def _code_integrity(event: Event, sign: Sign) -> Iterator[Seen]:
    path = event.get("FileName", "FileNameBuffer", "File Name", "param1") or _path(event.message)
    scenario = event.get("SISigningScenario", "SI Signing Scenario")
    if not path or not (path.lower().endswith(".sys") or scenario == KERNEL_SCENARIO):
        return
    gate, effect, facts = sign.gate, sign.effect, []
    status = _status(event)
    if policy := _policy(event):
        facts.append(f"policy {{{policy.upper()}}}")
        name = event.get("PolicyName")
        facts += [f"called {safe(name)}"] if name else []
        known = gates().find(Kind.POLICY, policy)
        gate = known.gate if known else Gate.APP_CONTROL
        facts += [known.title] if known else []
    elif event.id in BY_POLICY_ID:
        facts.append(
            "the log does not hold the policy id, which alone names the check: see the details of "
            "the event in Event Viewer"
        )
    bitmap, layouts = _bitmap(event)
    facts += [f"status 0x{status:08X}"] if status is not None else []
    facts += [f"failure bitmap {safe(bitmap)}"] if bitmap else []
    yield Seen(
        short_name(path).lower(),
        sign,
        gate,
        effect,
        tuple(facts),
        path,
        status,
        bitmap,
        layouts,
        event.activity,
        event.time,
        sha256=_hash(event),
    )


def _hash(event: Event) -> str:
    given = event.get("SHA256Hash", "SHA256 Hash").replace(" ", "").lower()
    return given if re.fullmatch(r"[0-9a-f]{64}", given) else ""


def _path(message: str) -> str:
    match = _LOADED.search(message) or _MODULE.search(message) or _DEVICE_PATH.search(message)
    return match[1] if match else ""


def _policy(event: Event) -> str:
    given = event.get("PolicyGUID", "Policy GUID", "PolicyID") or ""
    match = _POLICY.search(f"policy id {given}") or _POLICY.search(event.message)
    if match is None and event.id in BY_POLICY_ID:
        match = _GUID.search(event.message)
    return match[1].lower() if match else ""


def _status(event: Event) -> int | None:
    given = event.get("Status")
    match = _STATUS.search(f"status {given}") if given else _STATUS.search(event.message)
    if match:
        return int(match[1], 16)
    return int(given) & 0xFFFF_FFFF if given.lstrip("-").isdigit() and len(given) < 12 else None


def _bitmap(event: Event) -> tuple[str, tuple[str, ...]]:
    """The failure bitmap as it stands, and the names that Windows printed for its bits."""
    match = _BITMAP.search(event.message)
    names = [
        name
        for key, name in event.data.items()
        if "audit" in key.lower() or "bitmap" in key.lower()
    ]
    raw = (names[0] if names else match[1] if match else "").strip()
    # The message table spells it wrongly in some releases.
    text = f"{raw} {event.message}".lower().replace("discardable", "discarable")
    return raw, tuple(name for name in gates().layouts if name.lower() in text)


def _kernel_pnp(event: Event, sign: Sign) -> Iterator[Seen]:
    match = _PNP.search(event.message)
    # DriverName holds the device, FailureName the driver.
    failed = event.get("FailureName") or (f"\\Driver\\{match[1]}" if match else "")
    device = event.get("DriverName") or (match[2] if match else "")
    service = short_name(failed)
    if not service:
        return
    status = _status(event)
    known = gates().find(Kind.STATUS, status) if status is not None else None
    facts = [f"status 0x{status:08X}"] if status is not None else []
    facts += [known.title] if known else []
    facts += [f"device {safe(device)}"] if device else []
    yield Seen(
        service.lower() if service.lower().endswith(".sys") else f"{service.lower()}.sys",
        sign,
        known.gate if known else None,
        sign.effect,
        tuple(facts),
        status=status,
        activity=event.activity,
        time=event.time,
        device=device,
    )


def _starting(event: Event, sign: Sign) -> Iterator[Seen]:
    """A device that did not start: its problem code and status tell why, or do not."""
    code = _number(event.get("Problem")) or _number(_found(_PROBLEM, event.message))
    status = _status(event)
    problem = gates().find(Kind.CODE, code)
    known = gates().find(Kind.STATUS, status) if status is not None else None
    service = event.get("ServiceName", "Service") or _found(_OF_SERVICE, event.message)
    package = event.get("DriverName") or _found(_OF_PACKAGE, event.message)
    if problem is None or problem.effect is Effect.NOTE:
        return
    facts = [f"{problem.title} (Code {code})"]
    facts += [f"status 0x{status:08X}"] if status is not None else []
    facts += [known.title] if known else []
    yield Seen(
        f"{service.lower().removesuffix('.sys')}.sys" if service else "",
        sign,
        known.gate if known else problem.gate,
        Effect.REFUSED,
        tuple(facts),
        status=status,
        time=event.time,
        device=event.get("DeviceInstanceId"),
        package=package.lower(),
    )


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return 0


def _verifier(event: Event, sign: Sign) -> Iterator[Seen]:
    said = event.get("ErrorMessage") or event.message
    module = event.get("Module") or _path(event.message)
    level = event.get("ErrorLevel")
    if not module or not _INTEGRITY_RULE.search(said):
        return
    effect = Effect.AUDIT if level in ("", "0", "0x0") else Effect.NOTE
    facts = (f"rule {safe(event.get('RuleId'))}: {safe(said)}",)
    yield Seen(short_name(module).lower(), sign, sign.gate, effect, facts, module, time=event.time)


def _service(event: Event, sign: Sign) -> Iterator[Seen]:
    match = _ERROR.search(" ".join((*event.data.values(), event.message)))
    service = event.get("param1") or next(iter(_SERVICE.findall(event.message)), "")
    known = gates().find(Kind.ERROR, int(match[1])) if match else None
    if not service or known is None:
        return
    facts = (f"Windows error {known.id}: {known.title}",)
    yield Seen(f"{service.lower()}.sys", sign, known.gate, sign.effect, facts, time=event.time)

"""Event logs for tests: the same records as XML, as text of Event Viewer, as CSV and as `.evtx`.

Fields are those of the provider's published templates; names and numbers are made up.
"""

from __future__ import annotations

import csv
import io
import struct
import textwrap
import zlib
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

CI = "Microsoft-Windows-CodeIntegrity"
PNP = "Microsoft-Windows-Kernel-PnP"
XDV = "Microsoft-Windows-Kernel-XDV"
SCM = "Service Control Manager"
WER = "Microsoft-Windows-WER-SystemErrorReporting"
FOLDER = "\\Device\\HarddiskVolume3\\Windows\\System32\\drivers\\"
DRIVER_POLICY = "8F9CB695-5D48-48D6-A329-7202B44607E3"
EVALUATION = "784C4414-79F4-4C32-A6A5-F0FB42A51D0D"
BLOCK_LIST = "D2BDA982-CCF6-4344-AC5B-0B44427B6816"
OWN_POLICY = "11111111-2222-3333-4444-555555555555"


@dataclass
class Record:
    """One event to be written."""

    provider: str
    id: int
    data: dict[str, str] = field(default_factory=dict)
    message: str = ""
    activity: str = ""
    version: int = 0
    computer: str = ""


def loaded(name, words, audit=False):
    allowed = "  However, due to code integrity auditing policy, the image was allowed to load."
    return (
        f"Code Integrity determined that a process (System) attempted to load {FOLDER}{name} that "
        f"{words}.{allowed if audit else ''}"
    )


def hvci(name, id_=3111, bitmap="0x8", status="0xC0000428", version=1):
    """Version 0 has neither bitmap nor process."""
    data = {"FileNameLength": "9", "FileNameBuffer": FOLDER + name, "Status": status}
    words = (
        f"is not compatible with hypervisor enforcement. Failure bitmap {bitmap}. Status {status}"
    )
    if not version:
        text = f"Code Integrity determined that the kernel module {FOLDER}{name} is not compatible "
        text += f"with hypervisor enforcement. Status {status}."
        return Record(CI, id_, data, text, "", 0)
    data |= {"HVCIAuditFailures": bitmap, "ProcessNameBuffer": "System"}
    return Record(CI, id_, data, loaded(name, words), "", version)


def policy(name, guid, id_=3077, scenario="0", version=5, activity=""):
    data = {
        "FileNameLength": "9",
        "File Name": FOLDER + name,
        "Process Name": "System",
        "Status": "0xC0E90002",
        "SI Signing Scenario": scenario,
        "PolicyName": "some policy",
        "PolicyGUID": f"{{{guid}}}",
    }
    if version < 4:
        del data["PolicyGUID"]
    words = "did not meet the Enterprise signing level requirements or violated code integrity "
    words += f"policy (Policy ID:{{{guid.lower()}}})"
    return Record(CI, id_, data, loaded(name, words, id_ == 3076), activity, version)


def signing(name, id_=3004):
    text = (
        f"Windows is unable to verify the image integrity of the file {FOLDER}{name} because file "
        "hash could not be found on the system. A recent change might have installed a file that "
        "is signed incorrectly or damaged."
    )
    return Record(CI, id_, {"FileNameLength": "9", "FileNameBuffer": FOLDER + name}, text)


def failed(service, status="0xC000036B", device="USB\\VID_1234&amp;PID_5678\\1"):
    device = device.replace("&amp;", "&")
    data = {
        "DriverNameLength": "9",
        "DriverName": device,
        "Status": status,
        "FailureNameLength": "9",
        "FailureName": f"\\Driver\\{service}",
        "Version": "0",
    }
    text = f"The driver \\Driver\\{service} failed to load for the device {device}."
    return Record(PNP, 219, data, f"{text} Status: {status}")


def crash(code, parameters):
    values = ", ".join(f"0x{value:016x}" for value in parameters)
    said = f"0x{code:08x} ({values})"
    return Record(
        WER,
        1001,
        {"param1": said, "param2": "C:\\Windows\\MEMORY.DMP", "param3": "1"},
        f"The computer has rebooted from a bugcheck.  The bugcheck was: {said}. A dump was saved "
        "in: C:\\Windows\\MEMORY.DMP. Report Id: 1.",
    )


# ---- writing


def to_xml(record, rendered=False):
    activity = f"<Correlation ActivityID='{{{record.activity}}}'/>" if record.activity else ""
    computer = f"<Computer>{escape(record.computer)}</Computer>" if record.computer else ""
    data = "".join(
        f"<Data Name={quoteattr(name)}>{escape(value)}</Data>"
        for name, value in record.data.items()
    )
    said = f"<RenderingInfo><Message>{escape(record.message)}</Message></RenderingInfo>"
    return (
        "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>"
        f"<Provider Name={quoteattr(record.provider)}/><EventID>{record.id}</EventID>"
        f"<Version>{record.version}</Version>"
        f"<TimeCreated SystemTime='2026-11-28T10:00:00.0000000Z'/>{activity}{computer}</System>"
        f"<EventData>{data}</EventData>{said if rendered else ''}</Event>"
    )


def xml(records, root="", rendered=False):
    """As wevtutil prints them: one after the other, or in one root."""
    body = "\r\n".join(to_xml(record, rendered) for record in records)
    return f"<{root}>{body}</{root}>" if root else body


def viewer(records):
    """As Event Viewer copies them."""
    return "\n\n".join(
        f"Log Name:      {record.provider}/Operational\nSource:        {record.provider}\n"
        f"Date:          11/28/2026 10:00:00 AM\nEvent ID:      {record.id}\nTask Category: (1)\n"
        f"Level:         Error\nKeywords:      \nUser:          SYSTEM\n"
        f"Computer:      {record.computer}\nDescription:\n{record.message}"
        for record in records
    )


def listed(records):
    """As Get-WinEvent | Format-List prints them, folded."""
    parts = []
    for record in records:
        folded = "\n               ".join(textwrap.wrap(record.message, 100))
        parts.append(
            f"TimeCreated  : 11/28/2026 10:00:00 AM\nProviderName : {record.provider}\n"
            f"Id           : {record.id}\nMessage      : {folded}\n"
        )
    return "\n".join(parts)


def table(records, heads="Level,Date and Time,Source,Event ID,Task Category"):
    """As Event Viewer saves CSV: the last column has no heading."""
    out = io.StringIO()
    rows = csv.writer(out)
    for record in records:
        rows.writerow(["Error", "11/28/2026", record.provider, record.id, "(1)", record.message])
    return f"\ufeff{heads}\n{out.getvalue()}"


def exported(records):
    """As Export-Csv writes them."""
    out = io.StringIO()
    rows = csv.writer(out, quoting=csv.QUOTE_ALL)
    heads = ["Message", "Id", "Version", "ProviderName", "TimeCreated", "ActivityId"]
    rows.writerow([*heads, "MachineName"])
    for record in records:
        told = [record.message, record.id, 0, record.provider, "11/28/2026", record.activity]
        rows.writerow([*told, record.computer])
    return out.getvalue()


# ---- .evtx: binary XML without templates, inside one chunk


class _Chunk:
    def __init__(self):
        self.bytes = bytearray(512)

    def name(self, text):
        self.bytes += struct.pack("<I", len(self.bytes) + 4)
        folded = 0
        for char in text:
            folded = (folded * 65599 + ord(char)) & 0xFFFF_FFFF
        self.bytes += struct.pack("<IHH", 0, folded & 0xFFFF, len(text))
        self.bytes += text.encode("utf-16-le") + b"\0\0"

    def value(self, text):
        self.bytes += struct.pack("<BBH", 5, 1, len(text)) + text.encode("utf-16-le")

    def element(self, tag, attributes=(), content=()):
        # Outside of a template there is no dependency id.
        self.bytes.append(0x41 if attributes else 0x01)
        size_at = len(self.bytes)
        self.bytes += bytes(4)
        self.name(tag)
        if attributes:
            list_at = len(self.bytes)
            self.bytes += bytes(4)
            for number, (key, text) in enumerate(attributes):
                self.bytes.append(0x06 if number == len(attributes) - 1 else 0x46)
                self.name(key)
                self.value(text)
            struct.pack_into("<I", self.bytes, list_at, len(self.bytes) - list_at - 4)
        self.bytes.append(0x02)
        for item in content:
            if isinstance(item, str):
                self.value(item)
            else:
                self.element(*item)
        self.bytes.append(0x04)
        struct.pack_into("<I", self.bytes, size_at, len(self.bytes) - size_at - 4)

    def record(self, number, tree):
        start = len(self.bytes)
        self.bytes += b"**\0\0" + struct.pack("<IQQ", 0, number, 133_000_000_000_000_000)
        self.bytes += b"\x0f\x01\x01\0"
        self.element(*tree)
        self.bytes.append(0)
        size = len(self.bytes) + 4 - start
        self.bytes += struct.pack("<I", size)
        struct.pack_into("<I", self.bytes, start + 4, size)
        return start


def evtx(records):
    """A whole `.evtx` file."""
    chunk, last = _Chunk(), 512
    for number, record in enumerate(records, start=1):
        system = [
            ("Provider", [("Name", record.provider)]),
            ("EventID", (), [str(record.id)]),
            ("TimeCreated", [("SystemTime", "2026-11-28T10:00:00Z")]),
        ]
        if record.computer:
            system.append(("Computer", (), [record.computer]))
        if record.activity:
            system.append(("Correlation", [("ActivityID", f"{{{record.activity}}}")]))
        data = [("Data", [("Name", key)], [text]) for key, text in record.data.items()]
        tree = ("Event", (), [("System", (), system), ("EventData", (), data)])
        last = chunk.record(number, tree)
    body, count = chunk.bytes, len(records)
    head = b"ElfChnk\0" + struct.pack("<QQQQ", 1, count, 1, count)
    head += struct.pack("<III", 128, last, len(body)) + struct.pack(
        "<I", zlib.crc32(body[512:]) & 0xFFFF_FFFF
    )
    body[: len(head)] = head
    crc = zlib.crc32(bytes(body[:120]) + bytes(body[128:512])) & 0xFFFF_FFFF
    struct.pack_into("<I", body, 124, crc)
    file = b"ElfFile\0" + struct.pack("<QQQIHHHH", 0, 0, count + 1, 128, 1, 3, 4096, 1)
    file = file.ljust(120, b"\0")
    file += struct.pack("<II", 0, zlib.crc32(file) & 0xFFFF_FFFF)
    return file.ljust(4096, b"\0") + bytes(body).ljust(65536, b"\0")

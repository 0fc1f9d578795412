"""Libraries that a driver links and that nothing in the target builds.

Knows archives of objects and the names of the kit's own libraries; examines no code. A library
that only stands for imports has no code, and the kit's are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hvci.model import Limit, Origin, SourceSite
from hvci.source.build import Build
from hvci.source.files import CALL_RULES, beside
from hvci.source.products import Product
from hvci.source.project import Workspace

MAX_MEMBERS = 5000
_MAGIC = b"!<arch>\n"
_HEADER = 60
_CODE = 0x20
"""IMAGE_SCN_CNT_CODE."""
WEAKENED = (*CALL_RULES, "writes-executable-memory", "dynamic-code")

_KIT = """
tlvgeneratorparser wificxtlvgenparse mpio displib stdunk smclib treeclxstub
acpiex acxstub advapi32 aux_klib battc bcrypt bufferoverflow bufferoverflowfastfailk
bufferoverflowk bufferoverflowu cfgmgr32 classpnp clfs cng crtdll ddraw devioctl dloadhelper
drmk dxgkrnl eventlog fltmgr fwpkclnt fwpmu gcc gdi32 gpioclx gpioclxstub hal hidclass hidkmdf
hidparse hidport hwnclx0101 iddcxstub kernel32 ks ksecdd ksguid ksproxy libcmt libcmtd libcntpr
mbbcx mbbcxstub mcd mf mingw32 mingwex msgpioclxstub msgpiowin32 mskssrv msnetioproxy msvcrt
msvcrtd ndis ndisbind ndisuio ndiswdf netadaptercx netadaptercxstub netio nfccxstub nt ntdll
ntdllp ntoskrnl ntosp ntstrsafe ntstrsafe_k oldnames ole32 oleaut32 parport pcwum portcls
posclasshid psed rdbsslib rpcrt4 rtlver rxce scsiport sdbus sdport sensorsclassextension
sensorsnativestub sercx sercx2 shell32 spaceport spbcx spbcxstubs srmlib stdole2 storport
stream strmbase strmiids swenum tbs tdi tmp ucmcx ucmcxstub ucmtcpcicx ucmtcpcicxstub
ucmucsicxstub ucx01000 ucxclass ude udecx udecxstub uefi ufxclient ufxstub urscxstub usbcamd2
usbd usbdex usbfnclx usbport user32 uuid vhfkm vhfum videoprt wdf wdfdriverentry wdfldr
wdfloader wdmguid wdmsec werkernel wificx wificxstub winusb wlanapi wmilib wpprecorder wskclnt
"""
KIT = frozenset(_KIT.split())
"""Libraries of the kits and of compilers; what these bring is known otherwise."""


def limits(workspace: Workspace) -> Iterator[Limit]:
    """One limit for each library with code that nobody examined."""
    outputs = {build.output for build in workspace.builds}
    seen: set[str] = set()
    for product in workspace.kernel_products:
        for build, name in _linked(workspace, product):
            stem = _stem(name)
            path = _found(workspace, build, name)
            if path in seen or stem in outputs:
                continue
            seen.add(path or name)
            if path is not None:
                if (why := _why(path)) is not None:
                    yield _limit(build, f"{path}: {why}, and {product.name} links it", path)
            elif stem not in KIT and "$" not in name and name[:1] not in "/%":
                reason = f"{product.name} links {name}, which is not here: it was not examined"
                yield _limit(build, reason, build.file)


def _limit(build: Build, reason: str, path: str) -> Limit:
    return Limit(Origin.SOURCE, WEAKENED, reason, SourceSite(path, 1))


_PRAGMA = re.compile(rb'#[ \t]*pragma[ \t]+comment[ \t]*\([ \t]*lib[ \t]*,[ \t]*"([^"\n]+)"')


def _linked(workspace: Workspace, product: Product) -> Iterator[tuple[Build, str]]:
    """The libraries that the builds of a product name, and those that its text names."""
    for at in range(len(product.builds)):
        for build in product.closure(at):
            yield from ((build, name) for name in build.libraries)
    for variant in workspace.variants(product):
        for path in variant.program.paths:
            source = variant.program.space.source(path)
            if source is None or b"comment" not in source.text:
                continue
            if _PRAGMA.search(source.text) is None:
                continue
            for unit in variant.program.units_of(path):
                for match in _PRAGMA.finditer(unit.source.plain):
                    if unit.live(match.start()) is not False:
                        name = match[1].decode("utf-8", "replace")
                        name = name if name.lower().endswith((".lib", ".obj")) else f"{name}.lib"
                        yield variant.builds[0], name


def _stem(name: str) -> str:
    return re.sub(r"(?i)\.(?:lib|obj|a)$", "", re.split(r"[\\/]", name)[-1]).lower()


def _found(workspace: Workspace, build: Build, name: str) -> str | None:
    places = [name, beside(build.file, name.replace("\\", "/"))]
    folders = {path.rpartition("/")[0] for path in build.files}
    places += [f"{folder}/{name}" if folder else name for folder in sorted(folders)]
    for place in places:
        path = workspace.shelf.locate(workspace.shelf.shown(place.replace("\\", "/")))
        if path is not None:
            return path
    return None


def _why(path: str) -> str | None:
    """What a library holds that should be examined; None when it only stands for imports."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if not data.startswith(_MAGIC):
        return "object code that was not examined"
    has_code = any(_has_code(member) for member in members(data))
    return "it holds objects with code that were not examined" if has_code else None


def members(data: bytes) -> Iterator[bytes]:
    """The members of an archive, without those that list names."""
    at, left = len(_MAGIC), MAX_MEMBERS
    while at + _HEADER <= len(data) and left:
        left -= 1
        header = data[at : at + _HEADER]
        size = header[48:58].strip()
        if not size.isdigit() or header[58:60] != b"`\n":
            yield b"?"  # damaged: whatever it is, nobody looked at it
            return
        begin, at = at + _HEADER, at + _HEADER + int(size) + int(size) % 2
        if header[:16].strip() not in (b"/", b"//", b"/<ECSYMBOLS>/"):
            yield data[begin : begin + int(size)]


def _has_code(member: bytes) -> bool:
    """Whether an object holds code: imports have none, objects for later compilation may."""
    if len(member) < 20:
        return bool(member)
    if member[:4] == b"\0\0\xff\xff":
        return int.from_bytes(member[4:6], "little") != 0
    sections = int.from_bytes(member[2:4], "little")
    start = 20 + int.from_bytes(member[16:18], "little")
    for index in range(min(sections, 10_000)):
        header = member[start + 40 * index : start + 40 * (index + 1)]
        if len(header) < 40:
            return True
        flags = int.from_bytes(header[36:40], "little")
        if flags & _CODE and int.from_bytes(header[16:20], "little"):
            return True
        if header[:5] == b".cil$":
            return True
    return False

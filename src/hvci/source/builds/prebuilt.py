"""Libraries that a driver links and that nothing in the target builds.

Knows which libraries a product names, where they are and the names of the kit's own; their code is
for `binary.objects`. A library that only stands for imports has no code, and the kit's are known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from hvci.binary.objects import examine
from hvci.model import BehaviourFact, BuildSetting, DdiCall, Limit, Origin, SourceSite
from hvci.model.judged import LINK_RULES, TEXT_RULES
from hvci.source.builds import linker
from hvci.source.builds.model import Build, Kind
from hvci.source.builds.products import Product
from hvci.source.builds.project import Workspace
from hvci.source.text.disk import contents
from hvci.source.text.files import beside

MAX_BYTES = 128 << 20
"""A larger library is not examined."""
SHOWN = 4
"""Reasons that are told of one library."""
WEAKENED = TEXT_RULES

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
hid setupapi ws2_32 iphlpapi comdlg32 winmm shlwapi version crypt32 wintrust newdev secur32
netapi32 psapi winspool comctl32 odbc32 odbccp32 dbghelp powrprof wtsapi32 userenv uxtheme msi
ncrypt mswsock dnsapi fltlib difxapi
"""
KIT = frozenset(_KIT.split())
"""Libraries of the kits and of compilers; what these bring is known otherwise."""


def read(workspace: Workspace) -> Linked:
    """What the code of linked libraries asks for, and one limit for each that nobody examined."""
    found = Linked()
    seen: set[tuple[int, str]] = set()
    libraries = {build.output: build.file for build in workspace.builds if build.static}
    imported = _imported(workspace)
    for product in workspace.kernel_products:
        outputs = imported | {
            one.output for at in range(len(product.builds)) for one in product.closure(at)
        }
        every = [
            (build, name, _found(workspace, build, name))
            for build, name in _linked(workspace, product)
        ]
        for build, name, path in every:
            stem = _stem(name)
            key = (id(product), path or stem)
            if key in seen or stem in outputs:
                continue
            seen.add(key)
            if path is not None:
                asked = [one.machine for one, _, other in every if other == path]
                _library(found, workspace, product, path, asked)
            elif stem in libraries:
                reason = f"{product.name} links {_shown(workspace, name)}, and not by a reference"
                reason += f" to {libraries[stem]}: it was not examined"
                found.limits.append(_limit(reason, build.file))
            elif stem not in KIT and not _is_elsewhere(name):
                shown = _shown(workspace, name)
                reason = f"{product.name} links {shown}, which is not here: it was not examined"
                found.limits.append(_limit(reason, build.file))
    return found


def _shown(workspace: Workspace, name: str) -> str:
    """A library for a message: as seen from the target, or behind a folder that is not known."""
    if name.count("/") == 1 and name[:1] == "/":
        return name[1:]
    return workspace.shelf.shown(name)


def _imported(workspace: Workspace) -> set[str]:
    """The drivers here: what a driver links of them only stands for imports."""
    return {
        build.output
        for build in workspace.builds
        if build.kind in (Kind.DRIVER, Kind.LIBRARY) and not build.static
    }


_KIT_FOLDER = re.compile(r"(?i)\$\((?:DDK|SDK|IFSKIT|CRT|KMDF|UMDF|WDM|ATL|MFC|WDK)\w*\)")


def _is_elsewhere(name: str) -> bool:
    """Whether a name is an option, or leads into an installed kit."""
    is_option = name[:1] == "/" and "/" not in name[1:] and ":" in name
    return (
        is_option
        or name[:1] == "%"
        or _KIT_FOLDER.search(name) is not None
        or "windows kits/" in name.replace("\\", "/").lower()
    )


@dataclass
class Linked:
    """What was found in libraries, with the product that links each."""

    calls: list[tuple[Product, DdiCall]] = field(default_factory=list)
    behaviours: list[tuple[Product, BehaviourFact]] = field(default_factory=list)
    settings: list[tuple[Product, BuildSetting]] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)


def _library(
    found: Linked,
    workspace: Workspace,
    product: Product,
    path: str,
    machines: Collection[str | None],
) -> None:
    """Examine one library for one product, which links it for some machines."""
    try:
        data = contents(path, MAX_BYTES + 1)
        data = data if len(data) <= MAX_BYTES else b"?"
    except OSError as error:
        reason = f"{path}: it cannot be read ({error.strerror}), and {product.name} links it"
        found.limits.append(_limit(reason, path))
        return
    asked = frozenset(one for one in machines if one)
    examined = examine(data, path, workspace.target, asked, _Names(workspace, product))
    lacking = asked - examined.machines if examined.machines else frozenset()
    # only projects say for which machines they are
    if lacking and (lacking == asked or product.project.lower().endswith(".vcxproj")):
        examined.lost.append(f"it holds no code for {' or '.join(sorted(lacking))}")
    found.calls += ((product, call) for call in examined.calls)
    found.behaviours += ((product, fact) for fact in examined.behaviours)
    found.limits += examined.limits
    site = SourceSite(path, 1)
    for member, options, is_linked in examined.options:
        for setting in linker.settings(options, site):
            if is_linked:
                found.settings.append((product, setting))
            elif setting.name in _LAYOUT:
                reason = f"{path}: {member} asks for {setting.name}:{setting.value}, and nothing "
                reason += "here names what it defines, so it may not be linked"
                found.limits.append(Limit(Origin.SOURCE, LINK_RULES, reason, site))
    if examined.lost:
        more = f" and {len(examined.lost) - SHOWN} more" if len(examined.lost) > SHOWN else ""
        why = "; ".join(examined.lost[:SHOWN]) + more
        reason = f"{path}: not all of its code was examined, and {product.name} links it: {why}"
        found.limits.append(_limit(reason, path))


_LAYOUT = ("/SECTION", "/MERGE", "/ALIGN")


class _Names:
    """Whether the text that a product compiles holds a name."""

    def __init__(self, workspace: Workspace, product: Product) -> None:
        self.programs = [one.program for one in workspace.variants(product)]

    @cached_property
    def _words(self) -> frozenset[bytes]:
        """All of them at once: a library defines thousands of names."""
        every = (one.space.words.of(path) for one in self.programs for path in one.paths)
        return frozenset().union(*every)

    def __call__(self, name: bytes) -> bool:
        if _WORD.fullmatch(name) is not None:
            return name in self._words
        return any(program.names(name) for program in self.programs)


_WORD = re.compile(rb"\w+")


def _limit(reason: str, path: str) -> Limit:
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

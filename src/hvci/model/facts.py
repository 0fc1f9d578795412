"""Facts: what a reader saw. Nothing here says whether it is good or bad."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from typing import NewType

from hvci.model.behaviour import Behaviour
from hvci.model.library import FromLibrary
from hvci.model.record import ordered_record, record
from hvci.model.windows import LAST_32_BIT, NEWEST, WindowsVersion

Rva = NewType("Rva", int)
"""Bytes from the image base."""
Va = NewType("Va", int)
"""A virtual address."""
FileOffset = NewType("FileOffset", int)
"""Bytes from the start of the file."""

PAGE_SIZE = 0x1000


class Origin(StrEnum):
    """Which reader saw a fact."""

    IMAGE = "image"
    CALLSITE = "callsite"
    SOURCE = "source"
    VERIFIER = "verifier"


class Machine(StrEnum):
    """Processor architecture of an image; the value is the name users see."""

    X64 = "x64"
    X86 = "x86"
    ARM64 = "arm64"
    ARM = "arm"
    IA64 = "ia64"


def newest_for(machine: Machine | None) -> WindowsVersion:
    """The newest Windows that loads drivers for a machine; any for a machine that is not known."""
    return LAST_32_BIT if machine is Machine.X86 else NEWEST


class Via(StrEnum):
    """How a DDI was reached at a call site."""

    IAT = "iat"
    REGISTER = "register"
    THUNK = "thunk"
    TAIL = "tail"
    KMDF = "kmdf"
    COM = "com"
    CALLBACK = "callback"
    BY_NAME = "by-name"
    SOURCE = "source"
    EMULATED = "emulated"


class Tier(StrEnum):
    """How a verifier run came to an event: by itself, or on a path that the run forced."""

    NATURAL = "natural"
    FORCED = "forced"


class Confidence(StrEnum):
    """How sure a statement is: by its source for a rule, by its proof for a behaviour."""

    DOCUMENTED = "documented"
    HEADER = "header"
    OBSERVED = "observed"
    INFERRED = "inferred"
    PROVEN = "proven"
    LIKELY = "likely"
    POSSIBLE = "possible"


@ordered_record
class ImageSite:
    """A place in a loaded image."""

    rva: Rva
    section: str = ""
    function: str | None = None
    """Name from symbols, exports or unwind data, such as "DriverEntry" or "sub_1400"."""
    file: str | None = None
    line: int | None = None
    """Source position from a PDB; lines count from 1."""


@ordered_record
class SourceSite:
    """A place in a text file; line and column count from 1."""

    path: str
    line: int
    column: int = 1
    function: str | None = None


Site = ImageSite | SourceSite


@record
class Value:
    """What an argument can be.

    `possible` holds the values that were found; `complete` says that there can be no others.
    An incomplete value says in `reason` why, in words that a person can use.
    """

    possible: frozenset[int]
    complete: bool
    reason: str = ""
    opt_in: frozenset[int] = frozenset()
    """Those of `possible` that hold only until the image itself opts in to NX at its start."""

    @property
    def lasting(self) -> frozenset[int]:
        """The possible values without those that the image's own NX opt-in replaces."""
        return self.possible - self.opt_in

    @classmethod
    def exactly(cls, *values: int) -> Value:
        """Make a value that is one of `values` and nothing else."""
        return cls(frozenset(values), complete=True)

    @classmethod
    def unknown(cls, reason: str, *values: int) -> Value:
        """Make a value that may be one of `values` or anything else, and say why."""
        return cls(frozenset(values), complete=False, reason=reason)

    @property
    def why(self) -> str:
        """Why not all values are known; never empty."""
        return self.reason or "the code does not show it"

    def join(self, other: Value) -> Value:
        """What holds when either value may hold; the first reason is kept."""
        return Value(
            self.possible | other.possible,
            self.complete and other.complete,
            self.reason or other.reason,
            (self.opt_in | other.opt_in) - self.lasting - other.lasting,
        )


class Level(StrEnum):
    """How much thought an edit needs, least first."""

    SAFE = "safe"
    """Changes nothing but the right to execute."""
    REVIEW = "review"
    """Right in nearly all drivers; somebody should look at it."""
    SUGGEST = "suggest"
    """A starting point: the driver may depend on what it replaces."""


@ordered_record
class Edit:
    """Some bytes of a text file, and what to write instead."""

    path: str
    start: int
    """Offset in bytes of the text as UTF-8; for files that are not UTF-16, of the file."""
    end: int
    line: int
    column: int
    """Where it starts; lines and columns count from 1."""
    end_column: int
    """Behind its last character; an edit never spans lines."""
    old: str
    new: str
    level: Level


@record
class DdiCall:
    """One call of a catalogued DDI, seen in code, in text or in a run."""

    ddi: str
    arguments: Mapping[str, Value]
    """Only those that matter: the deciding one, and tag or access mode where there is one."""
    site: Site
    origin: Origin
    via: Via
    tier: Tier | None = None
    """Only for calls seen in a verifier run."""
    note: str = ""
    """What is known about the place, such as "from wdmsec.lib of the Windows 7 kit"."""
    unreached: bool = False
    """Nothing in the image leads to the code: it may be data, or unused."""
    doubt: str = ""
    """Why another routine may be called; then it is judged as undecided at worst."""
    dead: str = ""
    """Why it never runs in this driver, such as a branch for old Windows only; then it is listed
    and not judged."""
    edits: tuple[Edit, ...] = ()
    """What to write in the source so that it asks for no executable memory."""
    runs_code: str = ""
    """Where code runs in the memory that the call asks for: then no edit is safe."""
    ordinary: str = ""
    """How it is known that the physical address that the call maps is ordinary memory."""
    library: FromLibrary | None = None
    """Only for calls that ask for executable memory from code that a kit put there."""
    builds: tuple[tuple[str, Value], ...] = ()
    """The deciding value in each configuration that compiles the call, where they differ."""
    gnu: bool = False
    """Every build that compiles the call has MinGW-w64's headers; known of sources only."""


@record
class Section:
    """One section header; sizes are in bytes."""

    name: str
    rva: Rva
    virtual_size: int
    raw_offset: FileOffset
    raw_size: int
    characteristics: int

    @property
    def executable(self) -> bool:
        """IMAGE_SCN_MEM_EXECUTE."""
        return bool(self.characteristics & 0x2000_0000)

    @property
    def readable(self) -> bool:
        """IMAGE_SCN_MEM_READ."""
        return bool(self.characteristics & 0x4000_0000)

    @property
    def writable(self) -> bool:
        """IMAGE_SCN_MEM_WRITE."""
        return bool(self.characteristics & 0x8000_0000)

    @property
    def discardable(self) -> bool:
        """IMAGE_SCN_MEM_DISCARDABLE."""
        return bool(self.characteristics & 0x0200_0000)

    @property
    def end(self) -> Rva:
        """First RVA behind the section, as the loader maps it."""
        return Rva(self.rva + (self.virtual_size or self.raw_size))

    def holds(self, rva: int) -> bool:
        """Whether the RVA lies in the section."""
        return self.rva <= rva < self.end


@record
class DebugId:
    """What names the PDB of an image (CodeView RSDS record)."""

    guid: str
    """Upper-case hexadecimal with dashes."""
    age: int
    path: str


@record
class Relocation:
    """A base relocation that old Windows 10 kernels reject."""

    rva: Rva
    type: int
    """IMAGE_REL_BASED_* number; 10 is DIR64."""


@record
class Image:
    """What the PE headers say."""

    machine: Machine
    is_pe32_plus: bool
    image_base: int
    size_of_image: int
    entry: Rva
    section_alignment: int
    file_alignment: int
    subsystem: int
    dll_characteristics: int
    linker_version: tuple[int, int]
    sections: tuple[Section, ...]
    iat: tuple[Rva, int] | None = None
    """Data directory 12: RVA and size in bytes; None when absent."""
    import_tables: tuple[tuple[str, Rva], ...] = ()
    """FirstThunk of each import descriptor with the module's name."""
    odd_relocations: tuple[Relocation, ...] = ()
    """Relocations that Windows 10 1507 to 1607 reject, the first ones only."""
    odd_relocation_count: int = 0
    """How many there are in all."""
    signed: bool = False
    """A certificate table is present; nothing is said about its validity."""
    debug_id: DebugId | None = None
    kmdf_version: str | None = None
    hybrid: str | None = None
    """"arm64x" or "arm64ec" for hybrid images."""
    linking: str = ""
    """What is unusual about how it was linked, where no rule asks about it."""

    @property
    def linked_by_gnu(self) -> bool:
        """GNU ld made the image: it writes its own version, 2.9 to 2.x; Delphi's 2.25 too."""
        major, minor = self.linker_version
        delphi = {"CODE", ".itext"} & {section.name for section in self.sections}
        return major == 2 and 9 <= minor < 50 and not delphi

    def section_at(self, rva: int) -> Section | None:
        """The section that holds the RVA."""
        return next((section for section in self.sections if section.holds(rva)), None)


@record
class BehaviourFact:
    """Something that the code does and no DDI argument shows."""

    rule: str
    """Id of the rule that judges it, such as "writes-executable-memory"."""
    what: str
    """One clause, such as "clears CR0.WP"."""
    site: Site
    origin: Origin
    confidence: Confidence
    why: str = ""
    """How it is known."""
    fix: str = ""
    kind: Behaviour | None = None


@record
class PageEvent:
    """A breach of W^X or a verifier check in a verifier run."""

    bugcheck: int
    """0xC4, 0xBE or 0xFC."""
    subcode: int | None
    parameters: tuple[int, int, int, int]
    site: ImageSite
    tier: Tier
    message: str


@record
class BuildSetting:
    """A project or linker setting that decides something under memory integrity."""

    name: str
    """Such as "/SECTION", "DRIVER_ALIGNMENT" or "POOL_NX_OPTIN"."""
    value: str
    site: SourceSite
    configuration: str = ""
    """Such as "Release|x64"; empty when it holds for all."""


@record
class Allowance:
    """What the author of a source accepted, and where it was said."""

    rules: frozenset[str]
    """Ids of the rules whose findings are accepted."""
    path: str
    first: int
    last: int
    """Lines that it covers, both included."""
    reason: str
    by: str
    """Such as "#pragma warning(suppress: 30030)" with its place."""

    def covers(self, rule: str, site: Site) -> bool:
        """Whether a finding of a rule at a site is accepted."""
        return (
            rule in self.rules
            and isinstance(site, SourceSite)
            and site.path == self.path
            and self.first <= site.line <= self.last
        )


@record
class Limit:
    """Something that was there and was not examined."""

    origin: Origin
    rules: tuple[str, ...]
    """Ids of the rules that it weakens; those never pass."""
    reason: str
    site: Site | None = None


@record
class Evidence:
    """All facts about one target: the only input of every rule."""

    origins: frozenset[Origin]
    target_os: WindowsVersion = NEWEST
    image: Image | None = None
    calls: tuple[DdiCall, ...] = ()
    behaviours: tuple[BehaviourFact, ...] = ()
    events: tuple[PageEvent, ...] = ()
    settings: tuple[BuildSetting, ...] = ()
    limits: tuple[Limit, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time per stage."""
    allowances: tuple[Allowance, ...] = ()
    on_server: bool = False
    """The version is one of Windows Server, where editions matter."""

    def merged(self, others: Iterable[Evidence]) -> Evidence:
        """Join what other readers saw of the same target."""
        evidence = self
        for other in others:
            evidence = Evidence(
                evidence.origins | other.origins,
                evidence.target_os,
                evidence.image or other.image,
                evidence.calls + other.calls,
                evidence.behaviours + other.behaviours,
                evidence.events + other.events,
                evidence.settings + other.settings,
                evidence.limits + other.limits,
                {**evidence.seconds, **other.seconds},
                evidence.allowances + other.allowances,
                evidence.on_server or other.on_server,
            )
        return evidence

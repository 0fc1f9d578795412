"""Driver Verifier's code-integrity checks and the two bug checks of W^X, as a recorder.

0xC4 checks are reported and the run goes on, as the verifier does with the option to continue;
0xBE and 0xFC end the entry point. Knows the catalogue and values; touches no processor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hvci import catalog
from hvci.binary import PeImage
from hvci.catalog import Binding, Ddi
from hvci.catalog.ddis import VerifierEffect
from hvci.model import Counter, ImageSite, PageEvent, Rva, Tier
from hvci.verifier.outcome import Trust

CODE_INTEGRITY = 0xC4
WRITE_TO_READ_ONLY = 0xBE
EXECUTE_OF_NOEXECUTE = 0xFC
SECTION_HEADER = 40
INBOUND = "inbound"
"""A method that the driver implements and Windows calls."""
MAX_EVENTS = 512
CHOSEN_OUTSIDE = 0x5A00_0200
"""Stands for a value that Windows would choose: no driver writes it, NX like any kind a port asks
for. A call that gets it was reached, but nothing is known of its value."""


class ObservedCall(NamedTuple):
    """What tells one observation of a call from another."""

    ddi: str
    rva: int
    trust: Trust
    values: tuple[tuple[str, int], ...]
    """Watched arguments by name."""


@dataclass(slots=True)
class Recorder:
    """Everything that a run saw, each thing once."""

    image: PeImage
    base: int
    calls: dict[ObservedCall, int] = field(default_factory=dict)
    """How often each was seen."""
    events: dict[tuple[object, ...], PageEvent] = field(default_factory=dict)
    events_left_out: int = 0
    counters: dict[Counter, int] = field(default_factory=lambda: dict.fromkeys(Counter, 0))
    """Natural checks, as the verifier counts them: one for each call, not for each site."""
    special: dict[tuple[int, str, str], Tier] = field(default_factory=dict)
    """Instructions that change the processor's own state: (RVA, rule, what) -> natural if
    ever."""
    unknown: dict[tuple[int, str], Tier] = field(default_factory=dict)
    """Instructions that nobody executed: (RVA, name) -> natural if ever."""
    reached: set[int] = field(default_factory=set)
    """RVAs of instructions that called a catalogued DDI."""

    def site(self, address: int) -> ImageSite:
        """A place in the image."""
        rva = address - self.base
        return ImageSite(Rva(rva), self.image.section_name(rva))

    def event(
        self,
        bugcheck: int,
        subcode: int | None,
        parameters: tuple[int, int, int, int],
        address: int,
        tier: Tier,
        message: str,
    ) -> None:
        """Record a bug check; the same one at the same place is recorded once for each tier."""
        site = self.site(address)
        key = (bugcheck, subcode, site.rva, tier, parameters[2:] if subcode else parameters[:1])
        if key in self.events:
            return
        if len(self.events) >= MAX_EVENTS:
            self.events_left_out += 1
        else:
            made = PageEvent(bugcheck, subcode, parameters, site, tier, message)
            self.events[key] = made

    def changes_processor(self, address: int, rule: str, what: str, tier: Tier) -> None:
        """Record an instruction that changes control, debug or model-specific registers."""
        key = (address - self.base, rule, what)
        if self.special.get(key) is not Tier.NATURAL:
            self.special[key] = tier

    def cannot_execute(self, address: int, name: str, tier: Tier) -> None:
        """Record an instruction that the emulated processor does not know."""
        key = (address - self.base, name)
        if len(self.unknown) < MAX_EVENTS and self.unknown.get(key) is not Tier.NATURAL:
            self.unknown[key] = tier

    # ---- calls

    def call(
        self, ddi: Ddi, read: Callable[[str], int], address: int, return_to: int, trust: Trust
    ) -> None:
        """Record a call of a catalogued DDI and run the verifier's check on it."""
        values = tuple((name, read(name)) for name in ddi.watched)
        if ddi.deciding and read(ddi.deciding) & 0xFFFF_FFFF == CHOSEN_OUTSIDE:
            trust = Trust.INVENTED
        key = ObservedCall(ddi.name, address - self.base, trust, values)
        self.calls[key] = self.calls.get(key, 0) + 1
        self.reached.add(address - self.base)
        if ddi.verifier is VerifierEffect.REPORT and trust is not Trust.INVENTED:
            self._check(ddi, dict(values), address, return_to, trust.tier)

    def _check(
        self, ddi: Ddi, values: Mapping[str, int], address: int, return_to: int, tier: Tier
    ) -> None:
        value = values.get(ddi.deciding, 0)
        if ddi.counter is None or not ddi.rule.counted.holds(value):
            return
        if tier is Tier.NATURAL:
            self.counters[ddi.counter] += 1
        is_pool = ddi.counter is Counter.EXECUTE_POOL_TYPE
        tag = values.get(ddi.tag, 0) if is_pool else 0
        self.event(
            CODE_INTEGRITY,
            ddi.subcode,
            (ddi.subcode or 0, return_to, value, tag),
            address,
            tier,
            f"{ddi.name}: {ddi.deciding} is {ddi.rule.spell(value)}",
        )

    # ---- the image, as it is loaded

    def check_image(self, name: int, text_at: Callable[[str], int]) -> None:
        """The three checks that the verifier runs when a driver is loaded."""
        headers = self.image.headers
        pe = self.image.u32(0x3C)
        table = self.base + pe + 24 + self.image.u16(pe + 20)
        aligned = headers.section_alignment and not headers.section_alignment % 0x1000
        iat = self.image.facts.iat
        for index, section in enumerate(self.image.sections):
            header, text = table + SECTION_HEADER * index, text_at(section.name)
            both = section.executable and section.writable
            if both and section.name.upper() != "INIT":
                self._image_event(
                    Counter.EXECUTE_WRITE_SECTION,
                    (name, header, text),
                    section.rva,
                    f"section {section.name} is executable and writable",
                )
            if not aligned:
                self._image_event(
                    Counter.SECTION_ALIGNMENT_FAILURES,
                    (name, header, text),
                    section.rva,
                    f"section {section.name} is not aligned to pages "
                    f"(SectionAlignment {headers.section_alignment:#x})",
                )
            if iat is not None and section.executable and section.holds(iat[0]):
                directory = self.base + pe + 24 + (112 if headers.is_pe32_plus else 96) + 8 * 12
                self._image_event(
                    Counter.IAT_IN_EXECUTABLE_SECTION,
                    (name, directory, text),
                    iat[0],
                    f"the import address table lies in the executable section {section.name}",
                )

    def _image_event(
        self, counter: Counter, rest: tuple[int, int, int], rva: int, message: str
    ) -> None:
        self.counters[counter] += 1
        subcode = counter.subcode or 0
        parameters = (subcode, *rest)
        self.event(CODE_INTEGRITY, subcode, parameters, self.base + rva, Tier.NATURAL, message)


def watched_ddis() -> dict[str, Ddi]:
    """The DDIs whose calls a run can see, by the name that it sees."""
    bindings = (Binding.EXPORT, Binding.WDF_TABLE, Binding.CALLBACK, Binding.COM_VTABLE)
    return {
        name: ddi
        for name, ddi in catalog.ddis().items()
        if ddi.binding in bindings and ddi.direction != INBOUND
    }


def storport_functions() -> dict[int, Ddi]:
    """The DDIs that compile to StorPortExtendedFunction, by its first argument."""
    found = (ddi for ddi in catalog.ddis().values() if ddi.storport_function >= 0)
    return {ddi.storport_function: ddi for ddi in found}

"""Calls of the kernel-mode driver framework; its globals are a hidden first argument."""

from __future__ import annotations

from collections.abc import Iterator

from hvci.binary.calls.found import Answer, Bound, Found, Open, Plain, Shared
from hvci.binary.flow.atoms import Lookup
from hvci.binary.form.code import ANY_POINTER_CALL
from hvci.model import Via

BIND = "WdfVersionBind"


class Framework:
    """Calls through the function table of KMDF."""

    def __init__(self, shared: Shared) -> None:
        self.analysis, self.pointers = shared.analysis, shared.pointers

    def find(self) -> Iterator[Answer]:
        """Every call; a use of the table that leads to none is open."""
        if BIND not in self.analysis.image.import_slots:
            return
        from hvci.binary.calls.framework import table  # other images start without
        from hvci.binary.calls.framework.accounts import FrameworkAccounts

        binding = table.find_binding(self.analysis)
        if binding is None:
            yield Open("the KMDF bind information was not found")
            return
        yield Bound(binding.version)
        uses = table.uses(self.analysis, binding)
        found = [(function, i) for function, i, _ in uses.calls]
        for function, i, name in uses.calls:
            yield Found(function, i, name, Via.KMDF, hidden=1)
        for rva, start, name in uses.plain:
            yield Plain(rva, start, name, Via.KMDF, hidden=1)
        sure = self.analysis.table_loads
        for function in {each.start: each for each in uses.others}.values():
            calls = function.where(ANY_POINTER_CALL) if sure else []
            found += [(function, i) for i in calls if function.rvas[i] in sure]
        for function, i, routine in self.pointers.within(uses.others, sure):
            if routine.value == Lookup.KMDF:
                yield Found(function, i, routine.why, Via.KMDF, hidden=1)
                found.append((function, i))
        accounts = FrameworkAccounts(self.analysis, found)
        for used in accounts.unaccounted(uses.references):
            yield Open(f"a use of {used.name} that is not followed", used.place)
        if not found and not uses.plain:
            yield Open("the image binds to KMDF, and no call of the framework was found")

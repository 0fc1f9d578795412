"""Writes down what a run does, one JSON object for each call and page event, when someone asks.

Knows the machine and calls; decides nothing.
"""

from __future__ import annotations

import json

from hvci.catalog.prototypes import prototype
from hvci.model import Tier
from hvci.verifier.kernel.call import Call
from hvci.verifier.machine import Machine
from hvci.verifier.sites import calling_instruction

MAX_LINES = 500_000
MAX_ARGUMENTS = 12
UNDOCUMENTED = 4
"""Arguments shown of a function without a prototype."""


class Tracer:
    """The trace of one run."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.entry = ""
        """Name of the entry point that runs."""
        self.is_on = False
        self.lines: list[str] = []

    @property
    def is_full(self) -> bool:
        """Whether something may be missing at the end."""
        return len(self.lines) >= MAX_LINES

    def call(self, call: Call, return_to: int, tier: Tier) -> None:
        """A stand-in that was just entered."""
        if not self.is_on or self.is_full:
            return
        shape, base = prototype(call.name), self.machine.layout.image
        count = min(shape.arguments if shape else UNDOCUMENTED, MAX_ARGUMENTS)
        self._write(
            event="call",
            entry=self.entry,
            tier=str(tier),
            ddi=call.name,
            arguments=[call.arg(index) for index in range(count)],
            site=calling_instruction(self.machine, return_to) - base,
            **{"return": return_to - base},
        )

    def page(self, bugcheck: int, address: int, pc: int, what: str, tier: Tier) -> None:
        """A write or a fetch that the law refused."""
        if self.is_on and not self.is_full:
            self._write(
                event="page",
                entry=self.entry,
                tier=str(tier),
                bugcheck=bugcheck,
                address=address,
                site=pc - self.machine.layout.image,
                what=what,
            )

    def _write(self, **fields: object) -> None:
        self.lines.append(json.dumps(fields))

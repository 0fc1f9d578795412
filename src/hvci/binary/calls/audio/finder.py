"""Methods that the audio port driver calls, and methods of its objects that the image calls."""

from __future__ import annotations

from collections.abc import Iterator

from hvci.binary.calls.audio import miniports
from hvci.binary.calls.found import Answer, Found, Inbound, Shared
from hvci.model import Via


class Audio:
    """Calls between a miniport and the audio port driver."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.miniports = miniports.Miniports(shared.analysis)

    def find(self) -> Iterator[Answer]:
        """Every method that is called either way."""
        for method in self.miniports.methods:
            ddi = method.ddi
            yield Inbound(method.start, ddi.name, ddi.deciding, miniports.inbound_reason(ddi))
        if self.miniports.is_audio:
            from hvci.binary.calls.audio.ports import PortCalls  # most images start without

            analysis, pointers = self.shared.analysis, self.shared.pointers
            for ddi in miniports.interface_methods(miniports.OUTBOUND):
                for call in PortCalls(analysis, pointers, self.miniports, ddi).find():
                    yield Found(call.function, call.i, ddi.name, Via.COM, 1, call.doubt)

"""One call site from bytes to verdict: what runs, in how many files, and how often it turns back.

    python bench/walk.py                      # the sites of docs/design.md
    python bench/walk.py DRIVER DDI [RVA]     # one of your own, with every call

Two parts are followed: how the site is found, and how its arguments are. A move is a call into
another file; a re-entry is a move into a file that is already being left: code that one cannot
read from top to bottom. The driver is evaluated once before, so that nothing is read or imported
in the walk.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import hvci
from hvci.evaluate import evaluate
from hvci.model import ImageSite

ROOT = str(Path(hvci.__file__).parent)
BUILT = Path(__file__).parents[1] / "tests" / "fixtures" / "built"
SITES = (
    ("msvc_bad.x64.asm.sys", "ExAllocatePoolWithTag"),
    ("msvc_bad.x86.asm.sys", "ExAllocatePoolWithTag"),
    ("msvc_bad.arm64.asm.sys", "ExAllocatePoolWithTag"),
    ("kmdf_bad.arm64.v15_o2.sys", "WdfMemoryCreate"),
)
FINDS, ARGUMENTS = "find", "arguments"


class Call(NamedTuple):
    """One call of a function of ours: how deep in its part of the walk, its file and its name."""

    depth: int
    file: str
    name: str


class Walk:
    """The calls of each part of the walk to one site."""

    def __init__(self, rva: int) -> None:
        self.rva = rva
        self.parts: dict[str, list[Call]] = {}
        self._stack: list[tuple[FrameType, Call]] = []
        self._begun: tuple[str, int] | None = None
        self._calls: list[Call] = []

    def follow(self, frame: FrameType, event: str, result: object) -> None:
        """For `sys.setprofile`."""
        code = frame.f_code
        if not code.co_filename.startswith(ROOT):
            return
        if event == "call":
            if self._begun is None and (part := self._part(frame)) not in (None, *self.parts):
                self._begun, self._calls = (part, len(self._stack)), []
            depth = len(self._stack) - (self._begun[1] if self._begun else 0)
            call = Call(depth, code.co_filename[len(ROOT) + 1 :], code.co_qualname)
            self._stack.append((frame, call))
            if self._begun:
                self._calls.append(call)
        elif event == "return" and self._stack and self._stack[-1][0] is frame:
            self._stack.pop()
            if self._begun and len(self._stack) == self._begun[1]:
                part = self._begun[0]
                self._begun = None
                if part == ARGUMENTS or self._is_found(frame, result):
                    self.parts[part] = self._calls

    def _part(self, frame: FrameType) -> str | None:
        here = frame.f_locals
        match frame.f_code.co_qualname:
            case "ImportCalls._use" | "_use" | "plain_call":
                return FINDS
            case "CallSites.add":
                function, i, *_ = here["found"]
                return ARGUMENTS if function.rvas[i] == self.rva else None
        return None

    def _is_found(self, frame: FrameType, result: object) -> bool:
        """Whether what has just returned found the site."""
        here = frame.f_locals
        if "self" not in here and "found" not in here:  # from the words of a framework's call
            return getattr(result, "rva", None) == self.rva
        calls = (here.get("self") or here["found"]).calls
        return any(each[0].rvas[each[1]] == self.rva for each in calls)


def counted(calls: list[Call]) -> tuple[int, int, int, int, int]:
    """Calls, functions, files, moves and re-entries of one part."""
    stack: list[Call] = []
    moves = again = 0
    for call in calls:
        del stack[call.depth :]
        if stack and stack[-1].file != call.file:
            moves += 1
            again += any(one.file == call.file for one in stack)
        stack.append(call)
    return len(calls), len({call[1:] for call in calls}), len({c.file for c in calls}), moves, again


def walked(path: Path, ddi: str, rva: int | None = None) -> Walk:
    """The walk to the first call of a DDI in a driver, or to the one at an RVA."""
    found = [
        each.call.site.rva
        for each in evaluate(path).calls
        if each.call.ddi == ddi and isinstance(each.call.site, ImageSite)
    ]
    if rva is None:
        rva = found[0]
    walk = Walk(rva)
    sys.setprofile(walk.follow)
    evaluate(path)
    sys.setprofile(None)
    return walk


def table(sites: Iterator[tuple[Path, str, int | None]]) -> Iterator[Walk]:
    print("driver | RVA | part | calls | functions | files | moves | re-entries")
    for path, ddi, rva in sites:
        walk = walked(path, ddi, rva)
        for part, calls in walk.parts.items():
            print(" | ".join(map(str, (path.name, hex(walk.rva), part, *counted(calls)))))
        yield walk


def main() -> None:
    if len(sys.argv) > 2:
        rva = int(sys.argv[3], 0) if len(sys.argv) > 3 else None
        (walk,) = table(iter([(Path(sys.argv[1]), sys.argv[2], rva)]))
        for part, calls in walk.parts.items():
            print(f"\n{part}:")
            for call in calls:
                print(f"{'  ' * call.depth}{call.file}: {call.name}")
        return
    for _ in table((BUILT / name, ddi, None) for name, ddi in SITES):
        pass


if __name__ == "__main__":
    main()

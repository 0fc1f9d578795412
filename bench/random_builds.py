"""How random drivers are compiled: by which compiler, at which level, with which flags.

A seed always gets the same flags of a compiler and machine, so that a name is enough to build a
driver again. Half of the drivers have usual flags, the others one of the unusual that are listed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.driver import prepare
from kit.gnu import Gnu, lacking
from kit.toolchain import ARCHES, SOURCES, Toolchain

Flags = tuple[str, ...]
MACHINES: Mapping[str, Flags] = {"clang": ARCHES, "gcc": ("x64", "x86"), "clang-gnu": ("x64",)}
LEVELS: Mapping[str, Flags] = {
    "clang": ("-O0", "-O1", "-O2", "-Os", "-Oz", "-O3", "-Og"),
    "gcc": ("-O0", "-O1", "-O2", "-O3", "-Os", "-Og"),
    "clang-gnu": ("-O0", "-O1", "-O2", "-O3", "-Os", "-Oz"),
}
USUAL: tuple[Flags, ...] = ((), (), ("-fno-omit-frame-pointer",), ("-fno-inline",))
_EVERYWHERE: tuple[Flags, ...] = (
    ("-DFIXTURE_THUNKS",),
    ("-fno-jump-tables",),
    ("-fno-optimize-sibling-calls",),
)
_CLANG: tuple[Flags, ...] = (
    *_EVERYWHERE,
    ("-flto",),
    ("-ffunction-sections", "-fdata-sections", "/opt:ref", "/opt:icf"),
    ("-mllvm", "-hot-cold-split=true", "-mllvm", "-hotcoldsplit-threshold=-1"),
    ("-fsanitize=undefined", "-fsanitize-trap=undefined"),
    ("-fms-hotpatch",),
    ("-mllvm", "-enable-shrink-wrap=false"),
)
_OUTLINED: Flags = ("-mllvm", "-enable-machine-outliner=always")
_GCC: tuple[Flags, ...] = (
    *_EVERYWHERE,
    ("-flto",),
    ("-flto", "-fwhole-program"),
    ("-fPIC",),
    ("-ffunction-sections", "-Wl,--gc-sections"),
    ("-fno-toplevel-reorder",),
)
_LARGE: tuple[Flags, ...] = (("-mcmodel=medium",), ("-mcmodel=large",))
_STACKS: tuple[Flags, ...] = (
    ("-mpreferred-stack-boundary=2",),
    ("-mpreferred-stack-boundary=2", "-fomit-frame-pointer"),
    ("-mpush-args", "-mno-accumulate-outgoing-args"),
    ("-mno-push-args",),
    ("-maccumulate-outgoing-args",),
    ("-msse2",),
)
_UNUSUAL: Mapping[tuple[str, str], tuple[Flags, ...]] = {
    ("clang", "x64"): (*_CLANG, ("-mcmodel=large",)),
    ("clang", "x86"): (*_CLANG, ("-msse2",), _OUTLINED),
    ("clang", "arm64"): (*_CLANG, _OUTLINED, ("-march=armv8.3-a",)),
    ("gcc", "x64"): (*_GCC, *_LARGE),
    ("gcc", "x86"): (*_GCC, *_STACKS),
    ("clang-gnu", "x64"): (*_EVERYWHERE, ("-fPIC",), ("-mcmodel=large",)),
}
_NO_UNWIND = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables")


@dataclass(frozen=True, slots=True)
class Setting:
    """One way of building."""

    compiler: str
    machine: str
    flags: Flags
    unwind: bool = True

    @property
    def level(self) -> str:
        """The optimisation level."""
        return next(flag for flag in reversed(self.flags) if flag.startswith("-O"))

    @property
    def name(self) -> str:
        """As the names of its drivers spell it; clang's keep theirs."""
        compiler = "" if self.compiler == "clang" else f".{self.compiler}"
        return f".{self.machine}{self.level}{compiler}{'' if self.unwind else '.nounwind'}"

    @property
    def command(self) -> str:
        """As people read it."""
        return " ".join((self.compiler, *self.flags, *(() if self.unwind else _NO_UNWIND[:1])))


def choose(
    seed: int, compiler: str, machine: str, unwind: bool = True, flags: Sequence[str] | None = None
) -> Setting:
    """The setting of a seed; `flags` replace those that it would choose, its level too."""
    choice = random.Random(f"{seed} {compiler} {machine}")
    level = choice.choice(LEVELS[compiler])
    unusual = _UNUSUAL[compiler, machine]
    chosen = choice.choice(USUAL if choice.random() < 0.5 else unusual) if flags is None else flags
    return Setting(compiler, machine, (level, *chosen), unwind)


class Builder:
    """The compilers, with what all drivers share made once."""

    def __init__(self, scratch: Path, compilers: Sequence[str]) -> None:
        """Keep every file in `scratch`."""
        self.scratch = scratch
        self._tools = Toolchain(scratch)
        self._gnu = Gnu(scratch)
        if "clang" in compilers:
            prepare(self._tools)

    def build(self, sources: Sequence[Path], setting: Setting) -> Path:
        """The driver of a program."""
        name = f"{sources[0].stem}{setting.name}"
        parts = [*sources, SOURCES / "support.c"]
        make = self._with_lld if setting.compiler == "clang" else self._with_ld
        make(name, parts, setting)
        for path in self.scratch.glob(f"{name}.*.obj"):
            path.unlink()
        return self.scratch / f"{name}.sys"

    def _with_lld(self, name: str, parts: Sequence[Path], setting: Setting) -> None:
        machine, flags = setting.machine, [f for f in setting.flags if not f.startswith("/")]
        flags += [] if setting.unwind else _NO_UNWIND
        objects = [
            self._tools.object(part, machine, f"{name}.{part.stem}", flags) for part in parts
        ]
        link = [flag for flag in setting.flags if flag.startswith("/")]
        self._tools.link(machine, objects, f"{name}.sys", link)

    def _with_ld(self, name: str, parts: Sequence[Path], setting: Setting) -> None:
        machine, flags = setting.machine, list(setting.flags)
        flags += [] if setting.unwind else _NO_UNWIND
        if setting.compiler == "clang-gnu":
            objects = [
                self._tools.object(part, "x64-gnu", f"{name}.{part.stem}", flags) for part in parts
            ]
            self._gnu.link(machine, objects, f"{name}.sys", ["-s"])
            return
        objects = [
            self._gnu.compile(part, machine, flags, f"{name}.{part.stem}.obj") for part in parts
        ]
        self._gnu.link(machine, objects, f"{name}.sys", [*flags, "-s"])


def missing(compiler: str, machine: str) -> str | None:
    """What has to be installed before this can be built."""
    return None if compiler == "clang" else lacking(machine)

"""The configurations of a driver crate: those that are judged, and those that are only told.

Theory of operation: judged are the default features for each machine, checked and not; told is what
each other feature, all of them, none and x86 would compile. Configurations that answer everything
alike that the crate's text asks are one. Knows manifests and conditions; knows no calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hvci.source.rust.cfg import Ask
from hvci.source.rust.manifests import Manifest, Manifests, inner
from hvci.source.text.disk import is_file

MAX_FEATURES = 48
"""Features that are told one by one."""
MACHINES = {"x64": "x86_64", "arm64": "aarch64", "x86": "x86"}
_SHOWN = {"x86_64": "x64", "aarch64": "ARM64", "x86": "x86"}
DEFAULT = frozenset({"default"})
Atom = tuple[str, str | None]

_FIXED: dict[Atom, bool] = {
    ("windows", None): True,
    ("unix", None): False,
    ("test", None): False,
    ("doc", None): False,
    ("doctest", None): False,
    ("miri", None): False,
    ("proc_macro", None): False,
    ("clippy", None): False,
}
_NAMED = {
    "target_os": "windows",
    "target_family": "windows",
    "target_env": "msvc",
    "target_vendor": "pc",
    "target_endian": "little",
}
_OPEN = ("target_feature", "panic", "overflow_checks", "sanitize", "target_abi", "?")
"""What neither the machine nor the manifest tells."""


@dataclass(frozen=True)
class Configuration:
    """What one build of a driver turns on."""

    machine: str
    """As `target_arch` spells it."""
    debug: bool
    linked: Mapping[Path, frozenset[str]]
    """The crates that it links, itself as well, with their features."""
    told: str = ""
    """What makes it differ from what is judged; empty: it is judged."""
    labels: tuple[str, ...] = ()
    """What it is called among those that are judged."""


@dataclass
class Asking:
    """Answers what conditions ask, for the crates of one driver."""

    manifests: Manifests
    driver: Manifest
    _flags: dict[Path, str | None] = field(default_factory=dict)

    def of(self, path: Path, on: Configuration) -> Ask:
        """The answers for one crate in a configuration."""
        features = on.linked.get(path, frozenset())

        def ask(key: str, value: str | None) -> bool | None:
            if key == "feature":
                return value in features
            if key == "debug_assertions" and value is None:
                return self.driver.asserts("dev" if on.debug else "release")
            if key.startswith("driver_model__"):
                said = self.driver.driver.get(key.removeprefix("driver_model__"))
                return None if said is None else said == value
            known = target(on.machine, key, value)
            return self._elsewhere(path, key) if known is None and key not in _OPEN else known

        return ask

    def _elsewhere(self, path: Path, key: str) -> bool | None:
        """Whether a build script or the configuration of Cargo may set a flag."""
        if path not in self._flags:
            self._flags[path] = self._script(path)
        text = self._flags[path]
        return None if text is None or re.search(rf"\b{re.escape(key)}\b", text) else False

    def _script(self, path: Path) -> str | None:
        """What may set flags; None when that may be anything."""
        manifest = self.manifests.get(path)
        named = inner(manifest.table, "package").get("build") if manifest else None
        script = path.parent / (named if isinstance(named, str) else "build.rs")
        places = [one / ".cargo" / end for one in path.parents for end in _CONFIGS]
        text = "".join(map(_start, places))
        if not is_file(script) or named is False:
            return text
        said = _start(script)
        is_plain = "wdk_build::" in said and "rustc-cfg" not in said and "cfg_aliases" not in said
        return text + said if is_plain or "rustc-cfg" in said else None


_CONFIGS = ("config.toml", "config")


def _start(path: Path) -> str:
    if not is_file(path):
        return ""
    try:
        with path.open("rb") as stream:
            return stream.read(1 << 18).decode("utf-8", "replace")
    except OSError:
        return ""


def target(machine: str, key: str, value: str | None) -> bool | None:
    """What the target alone answers; None: it is not about the target."""
    if (key, value) in _FIXED:
        return _FIXED[key, value]
    if key in _NAMED:
        return value == _NAMED[key]
    if key == "target_arch":
        return value == machine
    if key == "target_pointer_width":
        return value == ("32" if machine == "x86" else "64")
    if key == "target_has_atomic":
        return value in (None, "8", "16", "32", "64", "ptr") or None
    return None


def configurations(
    manifests: Manifests, driver: Manifest, machine: str | None = None
) -> list[Configuration]:
    """What may be built of a driver: what is judged first."""
    on = [MACHINES[machine]] if machine in MACHINES else ["x86_64", "aarch64"]
    made = list(_for(manifests, driver, DEFAULT, on, ""))
    usual = driver.turned_on(DEFAULT)[0]
    others = [one for one in driver.features if one not in usual and one != "default"]
    others.sort(key=lambda one: len(driver.turned_on(frozenset({one}))[0]))
    for name in others[:MAX_FEATURES]:
        made += _for(manifests, driver, DEFAULT | {name}, on, f'with feature "{name}"')
    if len(others) > 1:
        made += _for(manifests, driver, DEFAULT | set(others), on, "with all features")
    if driver.features.get("default"):
        made += _for(manifests, driver, frozenset(), on, "without default features")
    if machine not in MACHINES:
        made += _for(manifests, driver, DEFAULT, ["x86"], "for x86")
    return made


def _for(
    manifests: Manifests, driver: Manifest, asked: frozenset[str], on: list[str], told: str
) -> Iterator[Configuration]:
    for machine in on:
        linked = manifests.linked(driver.path, asked, partial(target, machine))
        for debug in (True, False):
            yield Configuration(machine, debug, linked, told)


def distinct(
    every: Iterable[Configuration], asking: Asking, asked: Iterable[tuple[Path, frozenset[Atom]]]
) -> list[Configuration]:
    """Those that differ in what the text of crates asks, with the names of what is judged."""
    groups: dict[tuple[object, ...], list[Configuration]] = {}
    ordered = [(path, sorted(atoms, key=str)) for path, atoms in asked]
    for one in every:
        key: tuple[object, ...] = ()
        for path, atoms in ordered:
            ask = asking.of(path, one)
            key = (*key, path in one.linked, *(ask(*atom) for atom in atoms))
        if not one.told:
            groups.setdefault((key, ""), []).append(one)
        elif (key, "") not in groups:
            groups.setdefault((key, one.told), []).append(one)
    judged = [one for each in groups.values() for one in each if not one.told]
    found = []
    for each in groups.values():
        first = each[0]
        labels = () if first.told else tuple(_labels(each, judged))
        found.append(Configuration(first.machine, first.debug, first.linked, first.told, labels))
    return found


def _labels(some: list[Configuration], every: list[Configuration]) -> Iterator[str]:
    """The machine or the profile where that alone tells some from the others."""
    if len({id(one) for one in some}) == len(every):
        return
    machines = {one.machine for one in some}
    if len(some) == sum(one.machine in machines for one in every):
        yield from (_SHOWN[one] for one in dict.fromkeys(one.machine for one in some))
        return
    profiles = {one.debug for one in some}
    if len(some) == sum(one.debug in profiles for one in every):
        yield from ("debug" if one else "release" for one in sorted(profiles, reverse=True))
        return
    yield from (f"{'debug' if one.debug else 'release'}|{_SHOWN[one.machine]}" for one in some)

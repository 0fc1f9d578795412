"""Runs CMake lists for one configuration: which targets there are, and what they are made of.

Theory of operation: commands run in order over variables, as CMake runs them; a command that is not
known does nothing, and what it would have set is empty. Blind spots: programs that CMake would
run, modules that are not in the sources. Knows commands; what targets mean is for `cmake`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import zip_longest

from hvci.source.builds.cmake import compilers
from hvci.source.builds.cmake import conditions as cmake_conditions
from hvci.source.builds.cmake.conditions import Known, Word
from hvci.source.builds.cmake.generators import Asked
from hvci.source.builds.cmake.generators import replace as generated
from hvci.source.builds.cmake.modules import is_own
from hvci.source.builds.cmake.targets import FLAGS, Place, Target, flags_of
from hvci.source.builds.cmake.text import MAX_COMMANDS, Argument, Command, commands, unescaped
from hvci.source.builds.cmake.unclear import adds, is_open, is_unclear, sets, shown
from hvci.source.builds.steps import sections, written
from hvci.source.preprocess.predefined import Compiler
from hvci.source.text.disk import contents
from hvci.source.text.files import is_code

MAX_STEPS = 60_000
"""Commands that one configuration may run."""
MAX_NESTED = 40
MAX_ROUNDS = 1000
"""Times that one loop is run."""
MAX_TEXT = 1 << 20
"""Characters of one value, and bytes of one list."""

_REFERENCE = re.compile(r"\$(ENV|CACHE)?\{([\w./+\-$ ]*)\}|@(\w+)@")
_USED = re.compile(r"\$\{([\w./+-]+)\}")
_CODE = (".c", ".cpp", ".cc", ".cxx", ".c++", ".asm")
_ADDING = re.compile(r"source|link|librar|compile|definition|include|option|flag|propert")
_HARMLESS = frozenset(
    [
        "add_custom_command",
        "add_dependencies",
        "add_test",
        "cmake_minimum_required",
        "cmake_policy",
        "enable_language",
        "enable_testing",
        "export",
        "externalproject_add",
        "include_guard",
        "install",
        "mark_as_advanced",
        "set_tests_properties",
        "source_group",
        "target_compile_features",
        "include_external_msproject",
        "block",
        "endblock",
        "find_program",
        "find_library",
        "find_path",
        "find_file",
        "return",
        "cpack_add_component",
        "create_test_sourcelist",
        "define_property",
        "file",
        "get_cmake_property",
        "load_cache",
        "site_name",
        "target_precompile_headers",
        "variable_watch",
        "write_basic_package_version_file",
    ]
)
"""Commands that say nothing of what a target is made of."""
_BLOCKS = {"if": "endif", "foreach": "endforeach", "while": "endwhile"}
_BLOCKS |= {"function": "endfunction", "macro": "endmacro"}


class _Return(Exception):
    """A function or list ends."""


class _Break(Exception):
    """A loop ends."""


class _Continue(Exception):
    """The body of a loop ends."""


_JUMPS = {"return": _Return, "break": _Break, "continue": _Continue}
_CONFIGURED = re.compile(
    r"\$<CONFIG:([\w,]+)>|\bCMAKE_CX*_FLAGS_(\w+)|\bCMAKE_BUILD_TYPE\}?\"?\s+\w+\s+\"?\^?(\w+)"
)
"""Where a text names a configuration."""


class Lists:
    """One run of a tree of CMake lists."""

    def __init__(
        self, root: str, asked: Asked, machine: str, runners: Mapping[str, Runner]
    ) -> None:
        self.asked = asked
        self.machine = machine
        self.runners = runners
        self.targets: dict[str, Target] = {}
        self.properties: dict[tuple[str, str], str] = {}
        """Definitions of single files."""
        self.read: set[str] = set()
        self.cleared: set[str] = set()
        """Variables that the lists themselves leave without a value."""
        self.unclear: set[str] = set()
        """Variables that were set in a way that is not followed."""
        self.missing: dict[str, bool] = {}
        """What could not be run; whether it may say what is compiled."""
        self.scopes: list[dict[str, str]] = [_start(root, asked, machine)]
        self.functions: dict[str, tuple[Command, list[Command], bool]] = {}
        self.place = Place(root, f"{root}/CMakeLists.txt")
        self.configurations: set[str] = set()
        """Those that the lists name, in capitals."""
        self.is_for_arm64 = False
        """The lists say something of ARM64."""
        self.compilers: set[Compiler] = set()
        """Those for which the lists have something to say, besides MSVC."""
        self.written: dict[str, None] = {}
        """Files of code that the lists, or steps of the build, write or may write."""
        self.fetched: dict[str, str] = {}
        """Folders of projects that are taken in by their names."""
        self.deferred: list[Command] = []
        """Commands that run at the end of a folder."""
        self.refused = False
        """The lists stopped with an error: nothing is built in this way."""
        self._flags = flags_of(asked.configuration)
        self.steps = 0
        self.gave_up = False
        self.nested = 0

    # -------------------------------------------------------------- variables

    def get(self, name: str) -> str | None:
        """What a variable holds."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    def set(self, name: str, value: str) -> None:
        """Give a variable a value where the code runs."""
        self.steps += len(value) >> 8
        self.gave_up |= len(value) > MAX_TEXT
        self.scopes[-1][name] = value[:MAX_TEXT]

    def note(self, name: str, command: Command) -> None:
        """A variable is as clear as what it is made of."""
        used = {one for given in command.arguments for one in _USED.findall(given.text)}
        if any(is_unclear(one.text, self.unclear) for one in command.arguments):
            self.unclear.add(name)
        elif name not in used:
            self.unclear.discard(name)

    def expand(self, text: str, depth: int = 0) -> str:
        """Replace `${…}`, inner ones first."""
        if depth > MAX_NESTED or ("${" not in text and "@" not in text and "{" not in text):
            return text

        def value(match: re.Match[str]) -> str:
            if match[1] == "ENV":
                return ""
            found = self.get(match[2] or match[3])
            if found is None and match[3]:
                return match[0]
            return found or ""

        before = text
        self.steps += len(text) >> 8
        text = _REFERENCE.sub(value, text)
        self.gave_up |= len(text) > MAX_TEXT
        text = text[:MAX_TEXT]
        return self.expand(text, depth + 1) if text != before and "${" in text else text

    def words(self, given: tuple[Argument, ...]) -> list[str]:
        """The arguments of a command, with lists taken apart."""
        found: list[str] = []
        for one in given:
            if one.raw:
                found.append(one.text)
                continue
            text = unescaped(self.expand(one.text))
            if one.quoted:
                found.append(generated(text, self.asked))
            else:
                found += (word for word in generated(text, self.asked).split(";") if word)
        return found

    # ------------------------------------------------------------- control flow

    def list_file(self, path: str) -> bool:
        """Run one file; whether it could be read."""
        if self.nested > MAX_NESTED:
            return False
        try:
            data = contents(path)
        except OSError:
            return False
        self.read.add(path)
        text = data[:MAX_TEXT].decode("utf-8-sig", "replace")
        self._look(text)
        every = commands(text)
        self.gave_up |= len(data) > MAX_TEXT or len(every) >= MAX_COMMANDS
        self.nested += 1
        try:
            self.block(every)
        except (_Return, _Break, _Continue):
            pass
        finally:
            self.nested -= 1
        return True

    def _look(self, text: str) -> None:
        """What a text says of configurations and machines, before it is run."""
        named = (
            word for words in _CONFIGURED.findall(text) for one in words for word in one.split(",")
        )
        self.configurations.update(word.upper() for word in named if word not in ("", "INIT"))
        self.is_for_arm64 |= re.search(r"(?i)arm64|aarch64", text) is not None
        self.compilers |= compilers.named(text)

    def block(self, every: list[Command]) -> None:
        """Run commands in order."""
        at = 0
        while at < len(every):
            command = every[at]
            self.steps += 1
            if self.steps > MAX_STEPS:
                self.gave_up = True
                return
            if command.name in _BLOCKS:
                end = _end(every, at)
                self._inner(command, every[at + 1 : end])
                at = end + 1
                continue
            self.run(command)
            at += 1

    def _inner(self, command: Command, body: list[Command]) -> None:
        if command.name == "if":
            self._if(command, body)
        elif command.name == "foreach":
            self._foreach(command, body)
        elif command.name == "while":
            for _ in range(MAX_ROUNDS):
                if self.gave_up or not self.holds(command) or not self._round(body):
                    return
            self.gave_up = True
        elif command.name in ("function", "macro"):
            words = self.words(command.arguments)
            if words:
                self.functions[words[0].lower()] = (command, body, command.name == "macro")

    def _if(self, command: Command, body: list[Command]) -> None:
        branches: list[tuple[Command, list[Command]]] = [(command, [])]
        depth = 0
        for one in body:
            depth += (one.name in _BLOCKS) - (one.name in _BLOCKS.values())
            if depth == 0 and one.name in ("elseif", "else"):
                branches.append((one, []))
            else:
                branches[-1][1].append(one)
        open_ = [one for one, _ in branches if is_open(one, self.unclear)]
        for one in open_[:1]:
            if adds(body, self.functions):
                self.missing[shown(one)] = True
        try:
            for asked, inner in branches:
                if asked.name == "else" or self.holds(asked):
                    self.block(inner)
                    return
        finally:
            self.unclear.update(sets(body) if open_ else ())

    def holds(self, command: Command) -> bool:
        """Whether the condition that the arguments of a command are is true."""
        words = [Word(self.expand(one.text), one.quoted) for one in command.arguments]
        known = Known(
            self.get,
            lambda name: name in self.targets,
            lambda name: name.lower() in self.functions,
            self.path,
        )
        return cmake_conditions.holds(words, known)

    def _foreach(self, command: Command, body: list[Command]) -> None:
        words = self.words(command.arguments)
        if not words:
            return
        if "ZIP_LISTS" in words:
            self._foreach_zipped(words, body)
            return
        name, rest = words[0], words[1:]
        items = rest
        if rest[:1] == ["RANGE"]:
            numbers = [int(word) for word in rest[1:4] if word.lstrip("-").isdigit()]
            first, last = (0, numbers[0]) if len(numbers) == 1 else (*numbers, 0, 0)[:2]
            step = max(numbers[2] if len(numbers) > 2 else 1, 1)
            every = range(first, last + 1, step)
            self.gave_up |= len(every) > MAX_ROUNDS
            items = [str(number) for number in every[:MAX_ROUNDS]]
        elif rest[:1] == ["IN"]:
            items, lists = [], True
            for word in rest[1:]:
                if word in ("LISTS", "ITEMS"):
                    lists = word == "LISTS"
                else:
                    items += (self.get(word) or "").split(";") if lists else [word]
        for item in items:
            self.set(name, item)
            if self.gave_up or not self._round(body):
                return

    def _round(self, body: list[Command]) -> bool:
        """Run the body of a loop once; whether the loop goes on."""
        try:
            self.block(body)
        except _Continue:
            pass
        except _Break:
            return False
        return True

    def _foreach_zipped(self, words: list[str], body: list[Command]) -> None:
        """`foreach(a b IN ZIP_LISTS …)`, or with one name the numbers behind it."""
        at = words.index("ZIP_LISTS")
        names, held = words[: at - 1], [(self.get(one) or "").split(";") for one in words[at + 1 :]]
        if len(names) < len(held):
            names = [f"{names[0]}_{number}" for number in range(len(held))] if names else []
        for row in zip_longest(*held, fillvalue=""):
            if self.gave_up:
                return
            for name, item in zip(names, row, strict=False):
                self.set(name, item)
            if not self._round(body):
                return

    def call(self, name: str, command: Command) -> None:
        """Run a function or macro of the lists."""
        written, body, is_macro = self.functions[name]
        if self.nested > MAX_NESTED:
            self.gave_up = True
            return
        names = self.words(written.arguments)[1:]
        given = self.words(command.arguments)
        own = dict(zip(names, given, strict=False))
        own |= {f"ARGV{at}": one for at, one in enumerate(given)}
        own |= {"ARGC": str(len(given)), "ARGV": ";".join(given)}
        own["ARGN"] = ";".join(given[len(names) :])
        self.nested += 1
        try:
            if is_macro:
                self.scopes[-1].update(own)
            else:
                self.scopes.append(own)
            self.block(body)
        except _Return:
            pass
        finally:
            self.nested -= 1
            if not is_macro:
                self.scopes.pop()

    # ---------------------------------------------------------------- commands

    def run(self, command: Command) -> None:
        """Run one command."""
        if command.name in self.functions:
            self.call(command.name, command)
        elif command.name in _JUMPS:
            raise _JUMPS[command.name]
        else:
            runner = self.runners.get(command.name)
            if runner is not None:
                runner(self, self.words(command.arguments), command)
            elif command.name not in _HARMLESS:
                self._unknown(command)

    def _unknown(self, command: Command) -> None:
        """A command that nobody here defines may add to a target, or make one."""
        words = self.words(command.arguments)
        named = [self.targets[word] for word in words if word in self.targets]
        has_code = any(word.lower().endswith(_CODE) for word in words)
        if has_code or (named and _ADDING.search(command.name)):
            if not named:
                self.missing[f"the command {command.name}"] = True
            for target in named:
                target.lost.append(f"the command {command.name}")

    def note_written(self, words: list[str]) -> None:
        """The files that a step makes, and else those that its programs may write."""
        parts = sections(words)
        made = [*parts.get("OUTPUT", []), *parts.get("BYPRODUCTS", [])]
        made += () if "OUTPUT" in parts else written(" ".join(parts.get("COMMAND", [])))
        self.written |= dict.fromkeys(self.binary_path(one) for one in made if is_code(one))

    def binary_path(self, name: str) -> str:
        """The path of a file that a step makes."""
        inner = self.place.folder.removeprefix(self.scopes[0]["CMAKE_SOURCE_DIR"])
        name = name.replace("\\", "/")
        return name if name[:1] == "/" else f"{self.scopes[0]['CMAKE_BINARY_DIR']}{inner}/{name}"

    def path(self, name: str) -> str:
        """The path that a name means in the folder that is run."""
        name = name.replace("\\", "/")
        return name if name.startswith("/") else f"{self.place.folder}/{name}"

    def end(self) -> None:
        """Run what was put off to the end of a folder."""
        every, self.deferred = self.deferred, []
        self.block(every)
        for target in self.targets.values():
            if target.folder == self.place.folder:
                target.flags.update({name: self.get(name) or "" for name in self._flags})

    def subdirectory(self, folder: str) -> None:
        """Run the lists of a folder with variables of its own."""
        before, waiting, self.deferred = self.place, self.deferred, []
        self.place = before.below(self.path(folder).rstrip("/"))
        names = ("CMAKE_CURRENT_SOURCE_DIR", "CMAKE_CURRENT_LIST_DIR")
        self.scopes.append({**dict.fromkeys(names, self.place.folder)})
        self.scopes[-1]["CMAKE_CURRENT_BINARY_DIR"] = f"{self.place.folder}/build"
        if not self.list_file(self.place.file):
            self.missing[f"add_subdirectory({folder})"] = False
        self.end()
        self.deferred = waiting
        self.scopes.pop()
        self.place = before

    def toolchain(self) -> None:
        """Run the file that says how things are compiled, once; an environment's is not here."""
        name = self.get("CMAKE_TOOLCHAIN_FILE") or ""
        if name and name not in self.read and self.path(name) not in self.read:
            path = name if name.startswith("/") else f"{self.scopes[0]['CMAKE_SOURCE_DIR']}/{name}"
            if not self.list_file(path):
                self.missing[f"the toolchain file {name}"] = "$" not in name

    def include(self, name: str, is_optional: bool = False) -> None:
        """Run another file in the same folder."""
        places = [self.path(name)]
        if not name.lower().endswith(".cmake"):
            modules = (self.get("CMAKE_MODULE_PATH") or "").split(";")
            places = [f"{self.path(folder)}/{name}.cmake" for folder in modules if folder]
        before, here = self.place.file, self.get("CMAKE_CURRENT_LIST_DIR") or ""
        for path in places:
            self.place.file = path
            self.set("CMAKE_CURRENT_LIST_DIR", path.rpartition("/")[0])
            if self.list_file(path):
                break
        else:
            if name and not is_own(name) and not is_optional:
                self.missing[f"include({name})"] = True
        self.place.file = before
        self.set("CMAKE_CURRENT_LIST_DIR", here)


def _end(every: list[Command], start: int) -> int:
    """Index of the command that ends a block."""
    depth = 0
    for at in range(start, len(every)):
        name = every[at].name
        depth += (name in _BLOCKS) - (name in _BLOCKS.values())
        if depth == 0:
            return at
    return len(every)


def _start(root: str, asked: Asked, machine: str) -> dict[str, str]:
    names = ("CMAKE_SOURCE_DIR", "CMAKE_CURRENT_SOURCE_DIR", "PROJECT_SOURCE_DIR")
    found = dict.fromkeys((*names, "CMAKE_CURRENT_LIST_DIR"), root)
    found |= dict.fromkeys(("CMAKE_BINARY_DIR", "CMAKE_CURRENT_BINARY_DIR"), f"{root}/build")
    found |= {"WIN32": "1", "CMAKE_BUILD_TYPE": asked.configuration}
    found |= compilers.variables(asked)
    found |= {"CMAKE_SIZEOF_VOID_P": "4" if machine == "x86" else "8", "CMAKE_HOST_WIN32": "1"}
    processor = {"x64": "AMD64", "x86": "X86", "arm64": "ARM64"}[machine]
    found |= dict.fromkeys(("CMAKE_SYSTEM_PROCESSOR", "CMAKE_HOST_SYSTEM_PROCESSOR"), processor)
    platform = {"x64": "x64", "x86": "Win32", "arm64": "ARM64"}[machine]
    found |= {"CMAKE_GENERATOR_PLATFORM": platform, "CMAKE_VS_PLATFORM_NAME": platform}
    found |= {"CMAKE_SYSTEM_NAME": "Windows", "CMAKE_VERSION": "3.30.0"}
    return found | dict.fromkeys(FLAGS, "")


Runner = Callable[[Lists, list[str], Command], object]
"""What one command does with its arguments."""

"""What a target builds: products, what each links, and which of its configurations differ.

Theory of operation: a driver is linked from its own files and those of the static libraries that
it refers to, in the configuration of the same name. Packages and solutions join nothing.
Configurations are told apart only by what can matter: a macro that differs and is named nowhere in
the text makes no difference. Knows builds; knows nothing of calls or values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import groupby

from hvci.model import WindowsVersion
from hvci.source.builds.model import Build, Compile, Kind
from hvci.source.builds.nearby import distance
from hvci.source.preprocess.predefined import NEVER, Compiler, predefined
from hvci.source.preprocess.runs import Given
from hvci.source.preprocess.sizes import COMPARED
from hvci.source.preprocess.units import Space, TranslationUnit
from hvci.source.program.program import Program
from hvci.source.text.directives import given as macro
from hvci.source.text.files import beside


@dataclass(eq=False)
class Variant:
    """Configurations of a product that compile the same text."""

    product: Product
    builds: list[Build]
    program: Program
    library_of: Mapping[str, Build] = field(default_factory=dict)
    """Files of a library that is linked, and how it is built."""


@dataclass(eq=False)
class Product:
    """A driver, a library that no driver links, or a program for user mode."""

    project: str
    builds: list[Build]
    linked: dict[int, list[Build]]
    """For each build, by its position: the builds of the libraries that it links."""
    guessed: list[tuple[Build, Build]] = field(default_factory=list)
    """Builds with libraries of which nothing says in which configuration they are linked."""
    variants: list[Variant] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """What it is."""
        return self.builds[0].kind

    @property
    def is_user(self) -> bool:
        """Whether it runs in user mode only."""
        return all(build.kind is Kind.USER for build in self.builds)

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.builds[0].output or self.project.rpartition("/")[2]

    def closure(self, index: int) -> list[Build]:
        """One build with what it links."""
        return [self.builds[index], *self.linked[index]]


def products(builds: Iterable[Build]) -> list[Product]:
    """Every product of some builds, in order of their projects."""
    by_project = {
        project: list(many)
        for project, many in groupby(
            sorted(builds, key=lambda build: build.project), key=lambda build: build.project
        )
    }
    libraries = {
        project: [one for one in many if one.static] for project, many in by_project.items()
    }
    by_output: dict[str, dict[str, list[Build]]] = {}
    for project, many in libraries.items():
        for one in many:
            by_output.setdefault(one.output, {})[project] = many
    found: list[Product] = []
    taken: set[str] = set()
    of_programs: set[str] = set()
    for project, every in by_project.items():
        many = [one for one in every if one.kind is not Kind.PACKAGE and not one.static]
        many = [one for one in many if one.built]
        many = [one for one in many if one.kind is not Kind.USER] or many
        if not many:
            continue
        told = [list(_linked(build, libraries, by_output)) for build in many]
        linked = {at: [one for one, _ in each] for at, each in enumerate(told)}
        pairs = zip(many, told, strict=True)
        guessed = [(build, one) for build, each in pairs for one, is_told in each if not is_told]
        found.append(Product(project, many, linked, guessed))
        is_user = many[0].kind is Kind.USER
        names = {one.project for each in linked.values() for one in each}
        (of_programs if is_user else taken).update(names)
    taken.update(product.project for product in found)
    found += (
        Product(project, many, {at: [] for at in range(len(many))})
        for project, many in (
            (project, [one for one in every if one.built]) for project, every in libraries.items()
        )
        if many
        and project not in taken
        and (project not in of_programs or any(build.kernel for build in many))
    )
    return sorted(found, key=lambda product: product.project)


def _linked(
    build: Build,
    libraries: Mapping[str, list[Build]],
    by_output: Mapping[str, Mapping[str, list[Build]]],
) -> Iterator[tuple[Build, bool]]:
    """The builds of static libraries that a build links, each once, and whether that is told."""
    seen, todo = {build.project}, [build]
    while todo:
        current = todo.pop(0)
        named = [(libraries.get(one, []), "") for one in current.references]
        for name in current.libraries:
            of_name = by_output.get(name.rpartition("/")[2].rpartition(".")[0].lower(), {})
            many = of_name.get(_meant(name, build, tuple(of_name)), [])
            named.append((many, _placed(name, current, many)))
        for many, place in named:
            if many and many[0].project not in seen:
                seen.add(many[0].project)
                known = {**current.configured, **build.configured}
                label = (place or known.get(many[0].project, "")).lower()
                chosen = _matching(many, build, label)
                is_told = chosen.configuration.lower() in (label, build.configuration.lower())
                todo.append(chosen)
                yield chosen, is_told


def _meant(name: str, build: Build, projects: tuple[str, ...]) -> str:
    """Which project makes a library of a name: by its place, else the nearest; empty: not told."""
    if len(projects) < 2:
        return "".join(projects)
    whole = beside(build.file, name) if "/" in name else ""
    above = [one for one in projects if whole.startswith(_folder(one))]
    if above:
        return max(above, key=lambda one: len(_folder(one)))
    near = sorted(projects, key=lambda one: distance(build.project, one))
    is_told = distance(build.project, near[0]) < distance(build.project, near[1])
    return near[0] if is_told else ""


def _placed(name: str, build: Build, many: Sequence[Build]) -> str:
    """The configuration of a library in whose folder the linker finds it; empty: its own name's."""
    folders = (name.rpartition("/")[0],) if "/" in name else build.searched
    parts = {part for folder in folders for part in folder.lower().split("/")}
    own, _, platform = build.configuration.lower().partition("|")
    every = {one.configuration.lower().partition("|")[0] for one in many}
    told = every & parts
    return f"{told.pop()}|{platform}" if len(told) == 1 and own not in told else ""


def _folder(project: str) -> str:
    return project.partition("#")[0].rpartition("/")[0] + "/"


def _matching(many: list[Build], build: Build, label: str) -> Build:
    """The build of a library that goes with one of a driver: the one that is told, if it is."""
    if told := [one for one in many if one.configuration.lower() == label]:
        return told[0]
    machine = [one for one in many if one.machine == build.machine] or many
    same = [one for one in machine if one.configuration == build.configuration]
    alike = [one for one in machine if one.debug == build.debug]
    return (same or alike or machine)[0]


def variants(product: Product, space: Space, target: WindowsVersion) -> list[Variant]:
    """The configurations of a product, those together that compile the same text."""
    texts = _Mentioned(space, product)
    facts = [_facts(product, at, target) for at in range(len(product.builds))]
    names = sorted({name for one in facts for name in one})
    differing = [name for name in names if len({one.get(name) for one in facts}) > 1]
    telling = [name for name in differing if texts(name)]
    groups: dict[object, list[int]] = {}
    for at, one in enumerate(facts):
        files = tuple(tuple(build.files) for build in product.closure(at))
        key = (files, tuple(one.get(name) for name in telling))
        groups.setdefault(key, []).append(at)
    return [_variant(product, many, space, target) for many in groups.values()]


def _facts(product: Product, at: int, target: WindowsVersion) -> dict[str, object]:
    """What can differ between configurations: each macro, headers and their folders."""
    found: dict[str, set[object]] = {}
    for build in product.closure(at):
        version = build.ntddi or build.version or target
        for compiler in {one.compiler: None for _, one in build.compiles} or (Compiler.MSVC,):
            known = _plain(version, build.machine, build.kernel, build.debug, compiler)
            if not found:
                found.update((name, {value}) for name, value in known.items())
            else:
                for name, value in known.items():
                    found.setdefault(name, set()).add(value)
        for one in {id(each): each for _, each in build.compiles}.values():
            for word, text in one.defines.items():
                found.setdefault(word, set()).add(text)
            how = (one.forced, one.folders, one.removed, one.precompiled, one.compiler)
            found.setdefault("", set()).add(how)
    return {name: frozenset(values) for name, values in found.items()}


@lru_cache(maxsize=64)
def _plain(
    version: WindowsVersion, machine: str | None, kernel: bool, debug: bool, compiler: Compiler
) -> dict[str, int | None]:
    """The macros of compiler and kit by their names."""
    known = predefined(version, machine, kernel, False, debug, compiler)
    return {name.decode(): value for name, value in known.items()}


class _Mentioned:
    """Whether a name stands anywhere in the text that a product may compile."""

    def __init__(self, space: Space, product: Product) -> None:
        self.space = space
        self.product = product

    def __call__(self, name: str) -> bool:
        if not name or name.startswith("POOL_NX_OPT") or self.space.is_indirect(tuple(self._paths)):
            return True
        word = name.partition("(")[0].encode()
        if any(True for _ in self.space.naming(self._paths, word)):
            return True
        return name == "_WIN64" and self._compares_sizes

    @cached_property
    def _compares_sizes(self) -> bool:
        """Whether something may depend on the size of pointers, without a word of the platform."""
        sources = map(self.space.source, self.space.naming(self._paths, b"sizeof"))
        return any(one is not None and COMPARED.search(one.code) is not None for one in sources)

    @cached_property
    def _paths(self) -> dict[str, None]:
        paths: dict[str, None] = {}
        for at in range(len(self.product.builds)):
            for build in self.product.closure(at):
                for path, compile_ in build.compiles:
                    given = Given({}, forced=compile_.forced)
                    unit = TranslationUnit(path, given, compile_.folders)
                    paths.update(dict.fromkeys(self.space.closure(unit)))
        return paths


def _variant(product: Product, many: list[int], space: Space, target: WindowsVersion) -> Variant:
    units: list[TranslationUnit] = []
    library_of: dict[str, Build] = {}
    for build in product.closure(many[0]):
        known = _Givens(build, target)
        for path, compile_ in build.compiles:
            if path in space.shelf.sources:
                units.append(TranslationUnit(path, known.of(path, compile_), compile_.folders))
                if build.project != product.project:
                    library_of[path] = build
    program = Program(space, units)
    return Variant(product, [product.builds[at] for at in many], program, library_of)


class _Givens:
    """What the compiler is told in one build; equal answers are one object."""

    def __init__(self, build: Build, target: WindowsVersion) -> None:
        self.build = build
        self.target = target
        self._made: dict[tuple[int, bool], Given] = {}

    def of(self, path: str, compile_: Compile) -> Given:
        cplusplus = compile_.cplusplus
        if cplusplus is None:
            cplusplus = not path.lower().endswith(".c")
        key = (id(compile_), cplusplus)
        if key not in self._made:
            known = _known(self.build, self.target, cplusplus, compile_.compiler)
            self._made[key] = _given(known, compile_)
        return self._made[key]


def _known(
    build: Build, target: WindowsVersion, cplusplus: bool, compiler: Compiler
) -> dict[bytes, int | None]:
    version = build.ntddi or build.version or target
    return predefined(version, build.machine, build.kernel, cplusplus, build.debug, compiler)


def unbuilt(target: WindowsVersion, cplusplus: bool) -> Given:
    """What is known of a file that no build compiles: nothing says what else is defined."""
    known = predefined(target, None, True, cplusplus, False)
    sure = {name: value for name, value in known.items() if name not in _OF_TOOLSET}
    return Given(sure, _OF_KIT, closed=False, absent=frozenset(name.encode() for name in NEVER))


def commanded(target: WindowsVersion, machine: str, compile_: Compile, cplusplus: bool) -> Given:
    """What a command says of a file whose product is not known."""
    known = predefined(target, machine, True, cplusplus, False, compile_.compiler)
    return _given(known, compile_)


def _given(known: Mapping[bytes, int | None], compile_: Compile) -> Given:
    removed = frozenset(name.encode() for name in compile_.removed)
    every = (*_OF_KIT, *(macro(name, value or "1") for name, value in compile_.defines.items()))
    return Given(
        known,
        every,
        removed,
        compile_.forced,
        compile_.precompiled,
        compiler=compile_.compiler,
    )


_OF_KIT = (
    macro("OSVER(Version)", "((Version) & 0xFFFF0000)"),
    macro("SPVER(Version)", "(((Version) & 0x0000FF00) >> 8)"),
    macro("SUBVER(Version)", "((Version) & 0x000000FF)"),
)
"""What sdkddkver.h takes a number of a version apart with."""
_OF_TOOLSET = frozenset((b"WINNT", b"NT_UP", b"NT_INST", b"STD_CALL", b"MSC_NOOPT"))

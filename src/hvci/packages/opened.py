"""Opens a package in place: an INF with the files around it, or an archive with all that it holds.

Drivers are handed out one by one with what their package says of them. What an archive holds goes
to a scratch folder under numbers, never under its names; depth, number and size are bounded.
"""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from hvci.errors import InputError, NeedsMore
from hvci.model.package import Package
from hvci.packages import archives, images, kinds, library, marks
from hvci.packages.claims import Claim, Claims, amiss, claimed, lost_infs, machine_of_file
from hvci.packages.inf import START, Damaged, Inf, Service, read_inf
from hvci.packages.members import Member, numbered

MAX_MEMBER = 256 << 20
MAX_NESTED = 2 << 30
"""Of an archive within another: there are installers with a gigabyte of drivers in one cabinet."""
MAX_TOTAL = 8 << 30
MAX_MEMBERS = 200_000
DEEPEST = 6
"""A wheel can hold an installer program, that a cabinet, that a database, that a cabinet again."""
_MOST_KEPT = 20_000
_TEXTS = (".inf", ".cat")
_FOR_OLDER = re.compile(
    r"!(Windows([56]\.\d|8|8\.1)(-RT)?-KB\d+|Microsoft (Kernel|User)-Mode Driver Framework Install)"
    r"[^!/]*$"
)
"""Updates for a Windows before 10, such as the framework that the co-installer of a package brings
along: no Windows that has memory integrity takes them."""
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class NoDriver(InputError):
    """A package in which nothing is for us; where nobody named it, that is no news."""

    @property
    def kind(self) -> str:
        """Known as what it always was."""
        return InputError.__name__


class Driver(NamedTuple):
    """A driver image in a package."""

    path: str
    """What a report calls it: the archive, an exclamation mark, the name within."""
    data: bytes
    package: Package | None
    catalogs: tuple[tuple[str, bytes], ...]
    """Catalogs of the package, by path."""


class Refused(NamedTuple):
    """Something in a package that could not be opened."""

    path: str
    error: InputError

    @property
    def lasting(self) -> bool:
        """Whether the same bytes would be refused again on a machine with every library."""
        return not isinstance(self.error, NeedsMore)


Opened = Driver | Refused


class Kept(NamedTuple):
    """A member that matters, in the scratch folder."""

    path: str
    file: Path
    key: str = ""
    """The path by which files of one archive are compared."""


def open_inf(path: Path) -> Iterator[Opened]:
    """The drivers that an INF installs, from the files around it."""
    for one in of_inf(path):
        if isinstance(one, Refused):
            yield one
        else:
            catalogs = tuple((str(each), bounded(each)) for each in one.catalogs)
            yield Driver(str(one.file), bounded(one.file), one.package, catalogs)


class Named(NamedTuple):
    """A driver that an INF names, where it lies."""

    file: Path
    package: Package
    catalogs: tuple[Path, ...]


def of_inf(path: Path) -> Iterator[Named | Refused]:
    """Where the drivers lie that an INF installs, by the INFs that it copies as well, and what is
    wrong with them.
    """
    first = read_inf(bounded(path))
    folder, found = path.parent, False
    listed: dict[str, list[Path]] = {}
    for each in _around(folder):
        listed.setdefault(each.relative_to(folder).as_posix().lower(), []).append(each)
    waiting, met = [(path, first)], {path}
    while waiting:
        one, inf = waiting.pop(0)
        base = one.parent.relative_to(folder).as_posix().lower().removeprefix(".")
        base = f"{base}/" if base else ""
        for said in _of_one(one, inf, listed, base):
            found = True
            yield said
        copied = (base + each.lower() for places in inf.copies for each in places)
        for other in (file for each in copied for file in listed.get(each, ())[:1]):
            if other not in met:
                met.add(other)
                try:
                    waiting.append((other, read_inf(bounded(other))))
                except InputError as error:
                    found = True
                    yield Refused(str(other), error)
    if not found:
        raise _installs_nothing(str(path), first)


def _of_one(
    path: Path, inf: Inf, listed: Mapping[str, list[Path]], base: str
) -> Iterator[Named | Refused]:
    """The same of one INF; `base` is how the paths of the files around it begin."""
    catalogs = tuple(one for name in inf.catalogs for one in listed.get(base + name.lower(), ()))
    for service in inf.drivers:
        _, there = claimed(service, listed, machine_of_file, base)
        for file in there:
            package = package_of(str(path), inf, service, [str(each) for each in catalogs])
            yield Named(file, package, catalogs)
        if not there and not service.of_windows:
            yield missing(str(path), service)
    lost = (text for _, text in lost_infs(inf, lambda each: base + each.lower() in listed))
    for problem in (*inf.problems, *amiss(inf, listed, Path, base), *lost):
        yield Refused(str(path), InputError(problem))
    for name in inf.needs:
        if base + name.lower() in listed and name.lower() != path.name.lower():
            text = f"it takes in sections of {name}, which are not followed: check the folder"
            yield Refused(str(path), InputError(text))


def missing(path: str, service: Service) -> Refused:
    """A service whose binary is not there."""
    by = f"service {service.name}: " if service.name else "it copies a driver of no service: "
    text = f"{by}{service.file} is not in the package"
    cabinets = dict.fromkeys(each.partition("!")[0] for each in service.sources if "!" in each)
    if cabinets:
        text += f", or in {', '.join(cabinets)}, which is not opened for it: check that as well"
    return Refused(path, InputError(text))


def _installs_nothing(path: str, inf: Inf) -> NoDriver:
    """An INF without kernel drivers."""
    also = f"; it includes {', '.join(inf.needs)}" if inf.needs else ""
    if foreign := dict.fromkeys(one.file for one in inf.services):
        also = f" of its own, but uses {', '.join(foreign)} of Windows{also}"
    return NoDriver(f"{path}: the INF installs no kernel driver{also}")


def _around(folder: Path) -> Iterator[Path]:
    """The files beside and below an INF that do not lead out of its folder."""
    base = folder.resolve()
    for number, each in enumerate(sorted(folder.rglob("*"))):
        if number == MAX_MEMBERS:
            return
        if each.is_file() and each.resolve().is_relative_to(base):
            yield each


def bounded(path: Path) -> bytes:
    """The bytes of a file of a package; raises `InputError`."""
    try:
        if path.stat().st_size > MAX_MEMBER:
            raise InputError(f"{path}: too large for a file of a driver package")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def package_of(inf_path: str, inf: Inf, service: Service, catalogs: Iterable[str]) -> Package:
    """What a report says of the package of a service."""
    start = "" if service.start is None else START.get(service.start, str(service.start))
    return Package(
        inf_path,
        service.name,
        start,
        inf.provider,
        inf.version,
        inf.class_name,
        inf.hardware_ids,
        tuple(catalogs),
        inf.ids,
    )


def open_archive(path: Path) -> Iterator[Opened]:
    """The drivers in an archive, those in archives within it as well."""
    with tempfile.TemporaryDirectory(prefix="hvci-") as scratch:
        placed, refused, said = unpack(path, str(path), Path(scratch))
        for one in placed:
            catalogs = tuple((each.path, each.file.read_bytes()) for each in one.catalogs)
            yield Driver(one.path, one.file.read_bytes(), one.package, catalogs)
        yield from refused
        if not placed and not refused:
            raise NoDriver(f"{path}: no driver in this archive{said and f'; {said}'}")


class Placed(NamedTuple):
    """A driver of an archive, in a scratch folder."""

    path: str
    file: Path
    package: Package | None
    catalogs: tuple[Kept, ...]


def unpack(path: Path, label: str, scratch: Path) -> tuple[list[Placed], list[Refused], str]:
    """Put the drivers of an archive, and their catalogs, into a scratch folder under numbers; what
    there is to say of it comes last.

    `label` stands for the archive in what its members are called.
    """
    opening = _Opening(scratch)
    try:
        opening.read(path, label, 1)
    except InputError as error:
        opening.refused.append(Refused(label, error))
    placed = list(opening.placed())
    return placed, _joined(opening.refused), opening.said


def _joined(refused: list[Refused]) -> list[Refused]:
    """One for all differences of an update, of which nobody can open a single one."""
    found: dict[str, Refused] = {}
    counts: dict[str, int] = {}
    for number, one in enumerate(refused):
        is_delta = str(one.error) == marks.NOT_OPENED["delta"]
        key = _folder(one.path) if is_delta else str(number)
        found.setdefault(key, one)
        counts[key] = counts.get(key, 0) + 1
    return [
        Refused(one.path, InputError(f"{one.error} ({counts[key]} files)"))
        if counts[key] > 1
        else one
        for key, one in found.items()
    ]


class _Opening:
    """One archive on its way into the scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._number = self._seen = self._total = 0
        self.images: list[Kept] = []
        self.texts: list[Kept] = []
        self.refused: list[Refused] = []
        self.said = ""
        self._shared: dict[str, str] = {}
        """How names begin in the cabinets of an installer, and what it stands for: its folders
        go through all of its cabinets."""

    def read(
        self,
        path: Path,
        label: str,
        depth: int,
        names: Mapping[str, str] | None = None,
        kind: str = "",
    ) -> None:
        """Keep what matters of an archive, and open the archives in it.

        `names` has what members are called that it names by keys.
        """
        called = names or {}
        kind = kind or kinds.kind_inside(path)
        for member in archives.members(path, kind, label[len(_folder(label)) :]):
            self._seen += 1
            if self._seen > MAX_MEMBERS:
                raise InputError(f"the archive holds more than {MAX_MEMBERS} files")
            every = (member.name, *member.also)
            labels = [f"{label}!{called.get(each, each)}" for each in every]
            try:
                self._member(member, labels, depth)
            except archives.errors() as error:
                wrong = library.refusal(error, "it cannot be read")
                self.refused += [Refused(each, wrong) for each in labels]

    def _member(self, member: Member, labels: list[str], depth: int) -> None:
        head = b""
        for piece in member.pieces:
            self._count(len(piece))
            head += piece
            if len(head) >= marks.HEAD:
                break
        if member.size is not None and len(head) < min(member.size, marks.HEAD):
            raise EOFError("it is cut off")
        wanted = [(label, what) for label in labels if (what := _what(head, label, member.kind))]
        if not wanted:
            return
        if len(self.images) + len(self.texts) >= _MOST_KEPT:
            raise InputError(f"the archive holds more than {_MOST_KEPT} drivers and INFs")
        is_archive = not any(what in (_IMAGE, _TEXT) for _, what in wanted)
        most = MAX_NESTED if is_archive else MAX_MEMBER
        file = self._keep(member, head, most)
        if file is None:
            text = f"larger than {most >> 20} MiB: extract it and check it alone"
            large = InputError(text if is_archive else _TOO_LARGE)
            self.refused += [Refused(label, large) for label, _ in wanted]
            return
        is_kept = False
        for label, what in wanted:
            if what == _TEXT:
                self.texts.append(Kept(label, file, self._key(label)))
            elif what == _IMAGE or (what == marks.PROGRAM and images.is_driver(file)):
                if file.stat().st_size > MAX_MEMBER:
                    self.refused.append(Refused(label, InputError(_TOO_LARGE)))
                    continue
                self.images.append(Kept(label, file, self._key(label)))
            else:
                self._nested(file, label, depth, what, member.names)
                continue
            is_kept = True
        if not is_kept:
            file.unlink()

    def _nested(
        self, file: Path, label: str, depth: int, kind: str, names: Mapping[str, str]
    ) -> None:
        if not kinds.is_one(file, label, kind):
            return
        if _FOR_OLDER.search(label):
            self.said = "updates in it that only Windows before 10 takes are left out"
            return
        if depth == DEEPEST:
            self.refused.append(Refused(label, InputError("nested too deep to be opened")))
            return
        if names:
            self._shared[f"{label}!"] = label[: label.rfind("!") + 1]
        try:
            self.read(file, label, depth + 1, names, kind)
        except InputError as error:
            self.refused.append(Refused(label, error))

    def _key(self, label: str) -> str:
        for begin, home in self._shared.items():
            if label.startswith(begin):
                return _key(home + label[len(begin) :])
        return _key(label)

    def _keep(self, member: Member, head: bytes, most: int) -> Path | None:
        """A member in the scratch folder; None for one that is too large."""
        self._number += 1
        file = self._scratch / f"{self._number}.bin"
        try:
            with file.open("wb") as out:
                size = self._copied(member, head, most, out)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise NeedsMore("there was no room to unpack all of it") from error
            raise
        if size > most:
            file.unlink()
            return None
        if member.size is not None and size < member.size:
            raise EOFError("it is cut off")
        return file

    def _copied(self, member: Member, head: bytes, most: int, out: IO[bytes]) -> int:
        size = len(head)
        out.write(head)
        for piece in member.pieces:
            size += len(piece)
            self._count(len(piece))
            if size > most:
                break
            out.write(piece)
        return size

    def _count(self, size: int) -> None:
        self._total += size
        if self._total > MAX_TOTAL:
            raise InputError(f"the archive holds more than {MAX_TOTAL >> 30} GiB")

    def placed(self) -> Iterator[Placed]:
        """Each driver with its package."""
        catalogs = _Catalogs(one for one in self.texts if one.path.lower().endswith(".cat"))
        present: dict[str, list[Kept]] = {}
        for image in self.images:
            present.setdefault(image.key, []).append(image)
        claims = Claims(present, lambda image: image.file)
        texts = {one.key for one in self.texts}
        for path, base, inf in self._infs():
            claims.add(path, base, inf)
            lost = lost_infs(inf, lambda each: base + each.lower() in texts)  # noqa: B023
            self._told(path, (*inf.problems, *(text for _, text in lost)))
        for path, service in claims.lost:
            self._told(path, [str(missing(path, service).error)])
        for path, text in claims.amiss:
            self._told(path, [text])
        names = numbered(image.path for image in self.images)
        for image, name in zip(self.images, names, strict=True):
            claim = claims.of(image)
            package = self._package(claim, catalogs) if claim else None
            yield Placed(name, image.file, package, tuple(catalogs.near(image)))

    def _package(self, claim: Claim, catalogs: _Catalogs) -> Package:
        """What a report says of a package; of its catalogs those that are there."""
        key = self._key(claim.inf_path)
        named = {f"{_folder(key)}{_key(name)}" for name in claim.inf.catalogs}
        there = [each.path for each in catalogs.beside(key) if each.key in named]
        return package_of(claim.inf_path, claim.inf, claim.service, there)

    def _told(self, inf_path: str, wrong: Iterable[str]) -> None:
        """What is wrong with an INF; archives of sources hold none of the files that they name."""
        if self.images:
            self.refused += [Refused(inf_path, InputError(text)) for text in wrong]

    def _infs(self) -> Iterator[tuple[str, str, Inf]]:
        """The INFs of an archive, each with its path and its folder."""
        for one in self.texts:
            if not one.path.lower().endswith(".inf"):
                continue
            try:
                yield one.path, _folder(one.key), read_inf(one.file.read_bytes())
            except Damaged as error:  # many archives hold others of that name that are none
                self._told(one.path, [str(error)])
            except InputError:
                continue


def _key(path: str) -> str:
    """A path by which files of an archive and of an INF are compared."""
    return path.replace("\\", "/").lower()


class _Catalogs:
    """The catalogs of an archive by their folders."""

    def __init__(self, catalogs: Iterable[Kept]) -> None:
        self._of: dict[str, list[Kept]] = {}
        for one in catalogs:
            self._of.setdefault(_folder(one.key), []).append(one)

    def beside(self, key: str) -> list[Kept]:
        """Those in the folder of a file."""
        return self._of.get(_folder(key), [])

    def near(self, image: Kept) -> Iterator[Kept]:
        """Those in the driver's folder and in those above it."""
        folder = _folder(image.key)
        while True:
            yield from self._of.get(folder, [])
            if not folder:
                return
            folder = _folder(folder[:-1])


def _folder(path: str) -> str:
    """The path of a member up to its name."""
    cut = max(path.rfind(each) for each in "/\\!")
    return path[: cut + 1]


_IMAGE, _TEXT = "image", "text"
_TOO_LARGE = "too large for a driver"


def _what(head: bytes, label: str, kind: str) -> str:
    """What a member is to us: a driver, a text of a package, a kind of archive, or nothing.

    A driver is known by its name, whatever it holds; any other image is looked into.
    """
    name = label[len(_folder(label)) :]
    if marks.is_double(name, head):
        return ""
    if label.lower().endswith(_TEXTS) and head[:2] != b"MZ" and not marks.kind_of(head):
        return _TEXT
    if label.lower().endswith(".sys"):
        return _IMAGE
    if head[:2] == b"MZ":
        return kind or marks.PROGRAM
    kind = kind or marks.kind_of(head) or ("disk" if marks.is_disk_head(head, name) else "")
    if not kind and name.lower().endswith(marks.ARCHIVES):
        return marks.CALLED
    if kind.startswith(marks.PACKED) and not kinds.is_worth_unpacking(name, head):
        return ""
    return kind

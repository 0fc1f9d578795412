"""Compares which branches of `#if` are live with what `clang -E` keeps, for whole trees.

    python bench/preprocessor.py TREE ... [--units N]

Every branch of a copy of each tree gets a `#pragma` that survives preprocessing. Each translation
unit of a driver is preprocessed by us and by clang with the same definitions, folders and forced
headers; headers that are not here are empty for clang. For each group of branches in each file of
a unit the branches that clang keeps must be those that we take; where our answer is "maybe", as a
name may come from the kit, clang's must be among them, and the group is counted apart.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from hvci.model import NEWEST
from hvci.source.builds.project import Workspace
from hvci.source.preprocess.units import Space, TranslationUnit
from hvci.source.text.directives import IF, INCLUDE, Directives, Included
from hvci.source.text.files import shelve
from hvci.source.text.text import Source

MARK = re.compile(rb"^#pragma hvci (\d+) (\d+) (\d+)", re.MULTILINE)
ENTERED = re.compile(rb'^# \d+ "([^"\n]+)"', re.MULTILINE)
VARIANTS = 2
"""Configurations of one driver that are compared."""


class Marked:
    """A copy of a tree whose branches tell that they are kept."""

    def __init__(self, folder: Path, space: Space) -> None:
        self.folder, self.space = folder, space
        self.numbers: dict[str, int] = {}
        self.stubs = folder / "stubs"
        self.stubs.mkdir()
        for number, (path, source) in enumerate(sorted(space.shelf.sources.items())):
            self.numbers[path] = number
            place = self.place(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            text = space.text(path)
            assert text is not None
            place.write_bytes(marked(source, text.directives, number))
        named: dict[str, list[str]] = defaultdict(list)
        for path in space.shelf.sources:
            named[path.rpartition("/")[2].lower()].append(path)
        for path in space.shelf.sources:
            self._stub(path, named)

    def place(self, path: str) -> Path:
        """Where the copy of a file or folder is."""
        return self.folder / "tree" / str(Path(path).resolve()).lstrip("/")

    def _stub(self, path: str, named: dict[str, list[str]]) -> None:
        """What clang would not find: headers that are not here, and names in another case."""
        text = self.space.text(path)
        assert text is not None
        for line in text.directives.lines:
            if line.kind != INCLUDE or not isinstance(line.what, Included) or not line.what.name:
                continue
            name = line.what.name.replace("\\", "/")
            last = name.rpartition("/")[2]
            for same in named.get(last.lower(), ()):
                other = self.place(same).with_name(last)
                if not other.exists():
                    other.symlink_to(self.place(same))
            stub = self.stubs / name.lstrip("/")
            if ".." not in name and not stub.exists() and len(name) < 200:
                stub.parent.mkdir(parents=True, exist_ok=True)
                stub.write_bytes(b"")


def marked(source: Source, lines: Directives, number: int) -> bytes:
    """A text with a pragma behind the line of each branch."""
    text, parts, last = source.text, [], 0
    for line in lines.lines:
        if line.group < 0 or line.kind > 2:
            continue
        end = line.offset
        while True:
            end = text.find(b"\n", end)
            end = len(text) if end < 0 else end + 1
            if not text[:end].rstrip(b"\r\n").endswith(b"\\") or end == len(text):
                break
        mark = b"#pragma hvci %d %d %d\n" % (number, line.group, line.branch)
        parts += [text[last:end], b"" if text[:end].endswith(b"\n") else b"\n", mark]
        last = end
    return _INCLUDE.sub(
        lambda match: match[0].replace(b"\\", b"/"), b"".join((*parts, text[last:]))
    )


_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*["<][^">\n]*', re.MULTILINE)
"""Clang for Linux does not take backslashes in names."""


Kept = dict[int, dict[int, set[int]]]


def clang(unit: TranslationUnit, tree: Marked) -> tuple[Kept, set[Path]] | None:
    """The branches that clang keeps: of each file, by group, and the files that it read.

    None when it fails.
    """
    given = unit.given
    words = ["clang", "-E", "-undef", "-nostdinc", "-w", "-fms-compatibility"]
    words += ["-x", "c++" if b"__cplusplus" in given.known else "c"]
    words += [
        f"-D{name.decode()}={value}" for name, value in given.known.items() if value is not None
    ]
    for macro in given.defines:
        names = f"({','.join(p.decode() for p in macro.parameters)})" if macro.parameters else ""
        words.append(f"-D{macro.name.decode()}{names}={macro.body.decode('latin-1')}")
    words += [f"-U{name.decode()}" for name in given.removed]
    words += [word for path in given.forced for word in ("-include", str(tree.place(path)))]
    words += [f"-I{tree.place(tree.space.shelf.actual(folder))}" for folder in unit.folders]
    beside = tree.place(unit.path).parent  # where we look last, as kits add the project's folder
    words += [f"-I{beside}", f"-I{tree.stubs}", str(tree.place(unit.path))]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    if b"fatal error" in done.stderr:
        return None
    kept: Kept = defaultdict(lambda: defaultdict(set))
    for match in MARK.finditer(done.stdout):
        kept[int(match[1])][int(match[2])].add(int(match[3]))
    return kept, {Path(one.decode()).resolve() for one in set(ENTERED.findall(done.stdout))}


def units(workspace: Workspace, limit: int) -> Iterator[TranslationUnit]:
    """Translation units of drivers, in up to two configurations each."""
    for product in workspace.kernel_products:
        for variant in workspace.variants(product)[:VARIANTS]:
            yield from variant.program.compiled[:limit]


def compare(path: str, limit: int, seen: Counter[str]) -> None:
    """Compare one tree."""
    shelf = shelve(Path(path), {})
    workspace = Workspace(shelf, NEWEST)
    space = workspace.space
    with tempfile.TemporaryDirectory() as folder:
        tree = Marked(Path(folder), space)
        for unit in units(workspace, limit):
            answer, run = clang(unit, tree), space.run(unit)
            seen["units"] += 1
            if answer is None:
                seen["units that clang gave up"] += 1
                continue
            kept, entered = answer
            for file, choices in run.files.items():
                if file not in tree.numbers:
                    continue
                if tree.place(file).resolve() not in entered:
                    seen["files that only we find"] += 1
                    continue
                theirs = kept.get(tree.numbers[file], {})
                text = space.text(file)
                assert text is not None
                around = groups_around(text.directives)
                for group in range(len(next(iter(choices)))):
                    mine = [choice[group] for choice in choices]
                    live = theirs.get(group, set())
                    many = {b for one in mine if isinstance(one, tuple) for b in one}
                    sure = {one for one in mine if isinstance(one, int)}
                    outer = around.get(group, ())
                    if any(isinstance(choice[one], tuple) for one in outer for choice in choices):
                        # it is compiled if the branch that it stands in is
                        many, sure = many | sure, set()
                    if many:
                        ok = sure <= live <= sure | many
                        seen["open" if ok else "open, wrong"] += 1
                    elif sure == live:
                        seen["same"] += 1
                    else:
                        seen["different"] += 1
                        if seen["different"] <= 20:
                            print(f"{unit.path}: {file}: group {group}: {sure} {live}")


def groups_around(lines: Directives) -> dict[int, tuple[int, ...]]:
    """The groups that each group of branches stands in."""
    found: dict[int, tuple[int, ...]] = {}
    for line in lines.lines:
        if line.kind == IF:
            region, outer = lines.region_at(line.offset), []
            while region is not None:
                outer.append(region.group)
                region = region.outer
            found[line.group] = tuple(one for one in outer if one != line.group)
    return found


def main() -> None:
    """All trees of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trees", nargs="+")
    parser.add_argument("--units", type=int, default=40, help="of one configuration")
    options = parser.parse_args()
    seen: Counter[str] = Counter()
    for path in options.trees:
        compare(path, options.units, seen)
    count = seen["same"] + seen["different"]
    print(dict(seen))
    print(f"{100 * seen['same'] / max(count, 1):.3f} % of {count} groups agree")


if __name__ == "__main__":
    main()

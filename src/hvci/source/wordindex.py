"""Which files hold a word: an index that is made once, so that nothing searches whole texts.

Knows words, which are the longest runs of letters, digits and underscores; knows no language.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from hvci.source.text import Source, words


class WordIndex:
    """The words of the files of one target; files that are read later are added when asked."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = sources
        self._paths: list[str] = []
        self._holding: dict[bytes, int | list[int]] = {}
        """The numbers of the files that hold a word; most words stand in one file only."""
        self._parts: dict[bytes, set[str]] = {}
        self._among: dict[frozenset[bytes], dict[str, frozenset[bytes]]] = {}
        self._joined: tuple[int, bytes] = (0, b"")
        """The number of words, and all of them as one text."""

    def _update(self) -> None:
        if len(self._paths) == len(self.sources):
            return
        known, holding = set(self._paths), self._holding
        for path, source in [one for one in self.sources.items() if one[0] not in known]:
            number = len(self._paths)
            self._paths.append(path)
            found = words(source.text)
            for part, paths in self._parts.items():
                if any(part in word for word in found):
                    paths.add(path)
            for wanted, by_path in self._among.items():
                if held := found & wanted:
                    by_path[path] = held
            for word in found:
                before = holding.setdefault(word, number)
                if isinstance(before, list):
                    before.append(number)
                elif before != number:
                    holding[word] = [before, number]

    def holding(self, word: bytes) -> Iterator[str]:
        """The files whose text holds a word, in no order."""
        self._update()
        held = self._holding.get(word)
        if held is not None:
            for number in held if isinstance(held, list) else (held,):
                yield self._paths[number]

    def holding_part(self, part: bytes) -> Collection[str]:
        """The files that hold a word of which this is a part; asked of few parts."""
        self._update()
        if part not in self._parts:
            every = self._with_part(part)
            self._parts[part] = {path for word in every for path in self.holding(word)}
        return self._parts[part]

    def _with_part(self, part: bytes) -> Iterator[bytes]:
        if self._joined[0] != len(self._holding):
            self._joined = (len(self._holding), b" ".join((b"", *self._holding, b"")))
        text = self._joined[1]
        at = text.find(part)
        while at >= 0:
            end = text.find(b" ", at)
            yield text[text.rfind(b" ", 0, at) + 1 : end]
            at = text.find(part, end)

    def among(self, path: str, wanted: frozenset[bytes]) -> frozenset[bytes]:
        """Those of some words that a file holds; `wanted` is one of a few sets."""
        self._update()
        if wanted not in self._among:
            by_path: dict[str, set[bytes]] = {}
            for word in wanted:
                for one in self.holding(word):
                    by_path.setdefault(one, set()).add(word)
            self._among[wanted] = {one: frozenset(many) for one, many in by_path.items()}
        return self._among[wanted].get(path, frozenset())

    def with_part(self, path: str, part: bytes) -> bool:
        """Whether a file holds a word with that part."""
        return path in self.holding_part(part)

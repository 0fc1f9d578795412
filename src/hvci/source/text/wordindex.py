"""Which files hold a word: each is taken apart once, so that nothing searches whole texts.

Knows words, which are the longest runs of letters, digits and underscores; knows no language.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hvci.source.text.text import Source, words

NOTHING: frozenset[bytes] = frozenset()


class WordIndex:
    """The words of the files of one target; a file is taken apart when somebody asks about it.

    A program has a few files, so that asking each of them is cheaper than an index of all words.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = sources
        self._words: dict[str, frozenset[bytes]] = {}
        self._pool: dict[bytes, bytes] = {}
        """Every word once: the files of a program share most of theirs."""
        self._joined: dict[str, bytes] = {}
        """All words of a file as one text, which is much shorter than the file's."""

    def of(self, path: str) -> frozenset[bytes]:
        """The words of a file; none when it was not read."""
        found = self._words.get(path)
        if found is None:
            source = self.sources.get(path)
            if source is None:
                return NOTHING
            every = words(source.text)
            found = self._words[path] = frozenset(map(self._pool.setdefault, every, every))
        return found

    def holding(self, word: bytes, paths: Iterable[str]) -> Iterator[str]:
        """Those of some files whose text holds a word."""
        known, of = self._words, self.of
        return (path for path in paths if word in (known.get(path) or of(path)))

    def holding_part(self, part: bytes, paths: Iterable[str]) -> Iterator[str]:
        """Those of some files that hold a word of which this is a part."""
        return (path for path in paths if self.with_part(path, part))

    def among(self, path: str, wanted: frozenset[bytes]) -> frozenset[bytes]:
        """Those of some words that a file holds."""
        return self.of(path) & wanted

    def with_part(self, path: str, part: bytes) -> bool:
        """Whether a file holds a word with that part."""
        if path not in self._joined:
            if path not in self.sources:
                return False
            self._joined[path] = b" ".join(self.of(path))
        return part in self._joined[path]

    def with_parts(self, path: str, parts: Iterable[bytes]) -> Iterator[bytes]:
        """The words of a file that have one of some parts; a word may be told twice."""
        joined = self._joined[path] if self.with_part(path, b"") else b""
        for part in parts:
            at = joined.find(part)
            while at >= 0:
                end = joined.find(b" ", at)
                end = end if end >= 0 else len(joined)
                yield joined[joined.rfind(b" ", 0, at) + 1 : end]
                at = joined.find(part, end)

    def like(self, sources: Mapping[str, Source]) -> WordIndex:
        """An index of some files; what is known of those that are the same is known there."""
        found = WordIndex(sources)
        found._pool = self._pool
        for path, source in sources.items():
            if path in self._words and self.sources.get(path) is source:
                found._words[path] = self._words[path]
        return found

    def forget(self, paths: Iterable[str]) -> None:
        """Let go of the words of some files."""
        for path in paths:
            self._words.pop(path, None)
            self._joined.pop(path, None)
        if not self._words:
            self._pool.clear()

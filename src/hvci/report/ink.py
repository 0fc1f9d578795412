"""Lines of text for a terminal or a file: colour, indents, and folding at the width of a terminal.

Knows nothing of reports. Text without a width is never folded: a file keeps each line whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from unicodedata import combining, east_asian_width

Part = str | tuple[str, str]
"""Text, or text with a style such as "bold red"."""
NARROWEST = 20
_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}


class Ink:
    """Collects lines; each is given in parts that may have a style."""

    def __init__(self, width: int | None, colour: bool) -> None:
        self.width = None if width is None else max(width, NARROWEST)
        self._colour = colour
        self._lines: list[str] = []

    @property
    def text(self) -> str:
        """All lines; without blank ones at the end."""
        text = "\n".join(self._lines).strip("\n")
        return f"{text}\n" if text else ""

    def blank(self) -> None:
        """An empty line."""
        self._lines.append("")

    def line(self, *parts: Part, indent: int = 0, hang: int = 0) -> None:
        """One line; where it is folded, what follows stands `hang` columns further in."""
        pairs = [(part, "") if isinstance(part, str) else part for part in parts]
        plain = "".join(text for text, _ in pairs).rstrip()
        if self.width is None or indent + cells(plain) <= self.width:
            self._put(pairs, 0, len(plain), indent)
            return
        start, column = 0, indent
        while start < len(plain):
            end = _break(plain, start, self.width - column)
            self._put(pairs, start, end, column)
            column = min(indent + hang, self.width // 2)
            start = end + (plain[end : end + 1] == " ")

    def cropped(self, text: str, style: str, indent: int) -> None:
        """One line that is cut at the width rather than folded, as code wants it."""
        room = len(text) if self.width is None else self.width - indent
        self._put([(text, style)], 0, _fitting(text, 0, room), indent)

    def _put(self, pairs: Sequence[tuple[str, str]], start: int, end: int, indent: int) -> None:
        """The characters from start to end, each in the style of its part."""
        if not self._colour:
            text = "".join(text for text, _ in pairs)[start:end]
            self._lines.append((" " * indent + text).rstrip())
            return
        ends = accumulate(len(text) for text, _ in pairs)
        shown = []
        for (text, style), stop in zip(pairs, ends, strict=True):
            begin = stop - len(text)
            shown.append(_styled(text[max(start - begin, 0) : max(end - begin, 0)], style))
        self._lines.append(" " * indent + "".join(shown))


def _styled(text: str, style: str) -> str:
    if not style or not text:
        return text
    codes = ";".join(_CODES[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"


def cells(text: str) -> int:
    """Columns that a terminal needs for a text."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(char: str) -> int:
    if combining(char):
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


def _fitting(text: str, start: int, room: int) -> int:
    """Where the text from start must end to fit; at least one character does."""
    if text.isascii():
        return min(start + max(room, 1), len(text))
    end, used = start, 0
    while end < len(text) and (used := used + _cell(text[end])) <= max(room, 1):
        end += 1
    return max(end, start + 1)


def _break(text: str, start: int, room: int) -> int:
    """Where to break a line: at the last blank that fits, else where it must be."""
    end = _fitting(text, start, room)
    if end == len(text) or text[end] == " ":
        return end
    blank = text.rfind(" ", start + 1, end)
    return blank if blank > start else end

"""The line that a person watches during a long scan: how far, how fast, how long still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hvci.fleet.scanning import Progress


class Show:
    """The line that a person watches."""

    def __init__(self, watched: bool) -> None:
        self.watched = watched
        self._total: int | None = None
        self._last = 0.0
        self._marks: list[tuple[float, int]] = []

    def count(self, places: Callable[[], Iterable[object]]) -> None:
        """Count the files in the background, so that the time that is left can be told."""

        def counted() -> None:
            self._total = sum(1 for _ in places())

        threading.Thread(target=counted, daemon=True).start()

    def __call__(self, progress: Progress) -> None:
        """Show how far a scan is."""
        now = time.monotonic()
        if not self.watched or now - self._last < 0.5:
            return
        self._last = now
        self._marks = [*self._marks[-60:], (now, progress.files - progress.inside)]
        click.echo(f"\r\x1b[K{self.line(progress)}", nl=False, err=True)

    def line(self, progress: Progress) -> str:
        """Files, rate and remaining time."""
        (begin, before), (now, files) = self._marks[0], self._marks[-1]
        rate = (files - before) / (now - begin) if now > begin else 0.0
        total = "" if self._total is None else f" of {self._total}"
        parts = [f"{progress.files}{total} files", f"{rate:.0f}/s"]
        if rate and self._total is not None and self._total >= files:
            parts.append(f"{span((self._total - files) / rate)} left")
        if progress.problems:
            parts.append(f"{progress.problems} without an answer")
        return ", ".join(parts)

    def clear(self) -> None:
        """Take the line away."""
        if self.watched and self._last:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._last = 0.0


def span(seconds: float) -> str:
    """A length of time in the largest unit that says something."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

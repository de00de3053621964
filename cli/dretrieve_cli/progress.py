"""Progress on stderr: rich bars on a terminal, one plain line every few seconds elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import IO, Any

from dretrieve.errors import visible

PLAIN_SECONDS = 10.0


class PlainProgress:
    """One line when a stage begins, every ``seconds`` in between, and when it ends: good for log files.

    Without a stream it says nothing (``--quiet``).
    """

    def __init__(self, stream: IO[str] | None, seconds: float = PLAIN_SECONDS) -> None:
        self.stream, self.seconds = stream, seconds
        self.label, self.unit = "", ""
        self.total: int | None = None
        self.done = self.before = 0
        self.began = self.said = 0.0

    def start(self, label: str, total: int | None, unit: str, done: int = 0) -> None:
        """Begin a stage; ``done`` units were finished by an earlier run."""
        self.label, self.unit, self.total = label, unit, total
        self.done = self.before = done
        self.began = self.said = time.monotonic()
        resumed = f", {done:,} done before" if done else ""
        self._say(f"{label}: {'' if total is None else f'{total:,} '}{unit}{resumed}")

    def advance(self, units: int) -> None:
        """Count, and speak when it is time."""
        self.done += units
        if time.monotonic() - self.said >= self.seconds:
            self.said = time.monotonic()
            self._say(f"{self.label}: {self._position()}")

    def note(self, text: str) -> None:
        """Say one line."""
        self._say(text)

    def finish(self) -> None:
        """Say the end with the time that it took."""
        if self.label:
            seconds = time.monotonic() - self.began
            self._say(f"{self.label}: {self.done:,} {self.unit} in {duration(seconds)}{self._rate(seconds)}")
            self.label = ""

    def close(self) -> None:
        """Leave the stream as it is."""

    def _position(self) -> str:
        seconds = time.monotonic() - self.began
        fresh = self.done - self.before
        if not self.total:
            return f"{self.done:,} {self.unit}{self._rate(seconds)}"
        left = duration((self.total - self.done) * seconds / fresh) if fresh else "?"
        share = 100 * self.done / self.total
        return f"{self.done:,}/{self.total:,} {self.unit} ({share:.0f}%){self._rate(seconds)}, {left} left"

    def _rate(self, seconds: float) -> str:
        fresh = self.done - self.before
        return f", {fresh / seconds:,.0f}/s" if seconds > 0.5 and fresh else ""

    def _say(self, text: str) -> None:
        if self.stream is None:
            return
        with suppress(OSError):  # a full disk under a log file stops no work
            self.stream.write(visible(text) + "\n")
            self.stream.flush()


class RichProgress:
    """Bars with rate and time left, on a terminal."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]} {task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        ]
        self.bars = Progress(*columns, console=Console(file=stream, highlight=False), transient=False)
        self.tasks: list[Any] = []

    def start(self, label: str, total: int | None, unit: str, done: int = 0) -> None:
        """Begin a stage; ``done`` units were finished by an earlier run."""
        self.bars.start()
        task = self.bars.add_task(
            visible(label), total=total, completed=done, unit=unit, before=done, rate=""
        )
        self.tasks.append(task)

    def advance(self, units: int) -> None:
        """Move the newest bar."""
        if not self.tasks:
            return
        task = self.bars.tasks[self.tasks[-1]]
        fresh, seconds = task.completed + units - task.fields["before"], task.elapsed or 0.0
        rate = f"{fresh / seconds:,.0f}/s" if seconds > 0.5 else ""
        self.bars.update(task.id, advance=units, rate=rate)

    def note(self, text: str) -> None:
        """Print one line above the bars."""
        self.bars.console.print(visible(text), markup=False, emoji=False, soft_wrap=True)

    def finish(self) -> None:
        """Stop the newest bar where it stands."""
        if self.tasks:
            self.bars.stop_task(self.tasks.pop())
        if not self.tasks:
            self.bars.stop()

    def close(self) -> None:
        """Give the terminal back, whatever happened."""
        self.bars.stop()


def choose_progress(quiet: bool, stream: IO[str] | None = None) -> PlainProgress | RichProgress:
    """Return the display that fits: nothing, bars (terminal), or lines (log file, ``TERM=dumb``)."""
    stream = stream or sys.stderr
    if not quiet and stream.isatty() and os.environ.get("TERM") != "dumb":
        return RichProgress(stream)
    return PlainProgress(None if quiet else stream)


def duration(seconds: float) -> str:
    """Return ``0.4 s``, ``12 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"

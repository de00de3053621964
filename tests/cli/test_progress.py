"""What the user sees while a job runs."""

from __future__ import annotations

import io

import pytest

from dretrieve_cli import progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (12.2, "12 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_the_display_fits_the_place(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert progress.choose_progress(True, Terminal()).stream is None
    assert type(progress.choose_progress(False, io.StringIO())) is progress.PlainProgress
    assert type(progress.choose_progress(False, Terminal())) is progress.RichProgress
    monkeypatch.setenv("TERM", "dumb")
    assert type(progress.choose_progress(False, Terminal())) is progress.PlainProgress


def test_plain_lines_say_start_middle_and_end():
    stream = io.StringIO()
    shown = progress.PlainProgress(stream, seconds=0.0)
    shown.start("encode", 100, "passages", done=50)
    shown.advance(25)
    shown.advance(25)
    shown.finish()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "encode: 100 passages, 50 done before"
    assert lines[1].startswith("encode: 75/100 passages (75%)")
    assert lines[1].endswith(" left")
    assert lines[-1].startswith("encode: 100 passages in 0.0 s")


def test_plain_lines_do_not_flood_a_log():
    stream = io.StringIO()
    shown = progress.PlainProgress(stream, seconds=60)
    shown.start("read", None, "lines")
    for _ in range(1000):
        shown.advance(1)
    shown.finish()
    assert len(stream.getvalue().splitlines()) == 2


def test_bars_on_a_terminal_without_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    shown = progress.choose_progress(False, stream)
    shown.start("encode", 10, "passages")
    shown.note("[a note]")
    shown.advance(10)
    shown.finish()
    shown.finish()
    shown.advance(1)
    shown.close()
    text = stream.getvalue()
    assert "10/10" in text
    assert "[a note]" in text
    assert "\x1b[3" not in text, "no colours"


def test_silence():
    shown = progress.PlainProgress(None, seconds=0.0)
    shown.start("encode", 10, "passages")
    shown.advance(1)
    shown.note("x")
    shown.finish()
    shown.close()


@pytest.mark.parametrize("kind", [progress.PlainProgress, progress.RichProgress])
def test_notes_and_labels_are_shown_as_they_are_and_obeyed_by_nobody(kind):
    stream = Terminal() if kind is progress.RichProgress else io.StringIO()
    display = kind(stream)
    display.start("a[bold]b \x1b]0;t\x07", 1, "x")
    display.note("read [red]it[/red] :bee: \x1b]0;title\x07 " + "long " * 40)
    display.finish()
    display.close()
    assert "read [red]it[/red] :bee: \\x1b]0;title\\x07 " + "long " * 40 in stream.getvalue()
    assert "a[bold]b \\x1b]0;t\\x07" in stream.getvalue()
    assert "\x1b]0" not in stream.getvalue()


class Full(io.StringIO):
    """A log file on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_under_the_log_stops_no_work():
    display = progress.PlainProgress(Full())
    display.note("x")
    display.start("y", 1, "z")
    display.finish()

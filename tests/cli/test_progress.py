"""Progress: what is reported, in which words, and where it moves."""

from __future__ import annotations

import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap
from fcntl import ioctl

import pytest
from entry_point import hermetic_environ

from jamba_cli import progress
from jamba_cli.human import format_bytes, format_rate, format_seconds, parse_bytes, parse_count
from jamba_cli.output import Output
from jamba_cli.progress import NullReporter, Phase, PlainReporter, make_reporter
from jamba_cli.progress_bar import BarReporter, status_line
from jamba_cli.terminal import clean

MEMORY = {
    "weights": 270_000_000,
    "kv_cache": 47_000_000,
    "ssm_state": 2_100_000,
    "host_peak": 1_100_000_000,
    "device_peak": 0,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_plain_reporter_prints_a_line_when_a_phase_ends(clock):
    output = Output(stdout=io.StringIO(), stderr=io.StringIO())
    reporter = PlainReporter(output)
    reporter.phase("read", 5, "pages")
    clock.now += 0.2
    reporter.advance(5, path="a.pdf", characters=18_204)
    assert output.stderr.getvalue() == ""
    reporter.phase("prefill", 4096, "tokens")
    clock.now += 9.8
    reporter.advance(1024)
    reporter.advance(4096, state_bytes=2_100_000, kv_bytes=47_000_000)
    reporter.phase("decode", None, "tokens")
    clock.now += 2
    reporter.advance(1)
    reporter.memory(MEMORY)
    reporter.finish()
    assert output.stderr.getvalue().splitlines() == [
        "read: 5 pages, 18,204 characters in 0.2 s",
        "prefill: 4,096 tokens in 9.8 s (418 tokens/s), state 2.1 MB + KV 47 MB",
        "decode: 1 token in 2.0 s (0.5 tokens/s)",
    ]
    assert output.stdout.getvalue() == ""


def test_same_phase_again_only_corrects_its_unit(clock):
    output = Output(stdout=io.StringIO(), stderr=io.StringIO())
    reporter = PlainReporter(output)
    reporter.phase("read", None, "files")
    clock.now += 1
    reporter.phase("read", 3, "pages")
    reporter.advance(3)
    reporter.finish()
    assert output.stderr.getvalue() == "read: 3 pages in 1.0 s\n"


def test_speed_does_not_count_reused_tokens(clock):
    phase = Phase("prefill", 1000, "tokens", done=1000, detail={"reused": 900})
    clock.now += 10
    assert phase.summary() == "prefill: 1,000 tokens, 900 of them reused in 10.0 s (10 tokens/s)"


def test_memory_is_a_detail_off_the_terminal():
    output = Output(verbose=True, stdout=io.StringIO(), stderr=io.StringIO())
    PlainReporter(output).memory(MEMORY)
    assert output.stderr.getvalue() == (
        "memory: weights 270 MB, KV cache 47 MB, SSM state 2.1 MB, host peak 1.1 GB\n"
    )


@pytest.mark.parametrize(
    ("tty", "options", "progress", "term", "kind"),
    [
        (True, {}, True, "xterm", BarReporter),
        (True, {}, False, "xterm", PlainReporter),
        (True, {}, True, "dumb", PlainReporter),
        (False, {}, True, "xterm", PlainReporter),
        (True, {"quiet": True}, True, "xterm", NullReporter),
        (False, {"quiet": True}, False, "", NullReporter),
    ],
)
def test_reporter_for_each_place(tty, options, progress, term, kind):
    stderr = Terminal() if tty else io.StringIO()
    output = Output(stdout=io.StringIO(), stderr=stderr, **options)
    assert type(make_reporter(output, progress=progress, term=term)) is kind


@pytest.mark.parametrize("width", range(1, 130, 3))
def test_status_fits_its_width_and_keeps_the_amount(clock, width):
    detail = {"state_bytes": 2_100_000, "kv_bytes": 376_000_000, "path": "a\x1b/" + "b" * 90}
    phase = Phase("prefill", 262_144, "tokens", done=131_072, detail=detail)
    clock.now += 10
    line = status_line(phase, width)
    assert len(line) <= width
    assert "\x1b" not in line
    if width >= 15:
        assert line.startswith(("131,072/262,144", "131,072 / 262,144 tokens"))


def test_status_in_80_columns_says_all_that_matters(clock):
    detail = {"state_bytes": 2_100_000, "kv_bytes": 376_000_000}
    phase = Phase("prefill", 262_144, "tokens", done=131_072, detail=detail)
    clock.now += 65
    # 80 columns less the name, the bar and the spaces between
    assert (
        status_line(phase, 80 - 21) == "131,072/262,144  2,016 tokens/s  eta 1:05  carries 378 MB"
    )
    assert status_line(phase, 120) == (
        "131,072 / 262,144 tokens  2,016 tokens/s  eta 1:05  state 2.1 MB + KV 376 MB"
    )


SCRIPT = """
    import sys, time
    from jamba_cli.output import Output
    from jamba_cli.progress import make_reporter
    with Output() as output:
        reporter = make_reporter(output)
        reporter.phase("prefill", 1000, "tokens")
        for done in range(0, 1001, 100):
            reporter.advance(done, state_bytes=2_100_000, kv_bytes=done * 1000)
            time.sleep(0.02)
        output.warning("[red]a\\x1b[31m.pdf[/red]")
        reporter.phase("decode", None, "tokens")
        for done in range(20):
            output.answer(f"word{done} ")
            reporter.advance(done)
            time.sleep(0.01)
        output.end_answer()
        reporter.finish()
        reporter.memory({"weights": 270_000_000, "host_peak": 1_100_000_000})
"""


def run_on_terminal(home, columns: int, *, stdout_piped: bool = False, **environ) -> str:
    """Everything that the script writes to a pseudo-terminal of so many columns."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        stdin=slave, stdout=subprocess.DEVNULL if stdout_piped else slave, stderr=slave,
        env=hermetic_environ(home, **environ),
    )  # fmt: skip
    os.close(slave)
    written = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the terminal's other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(master)
    assert process.wait(timeout=10) == 0
    return written.decode()


@pytest.mark.parametrize("columns", [80, 200])
def test_bar_moves_and_is_gone_before_the_answer(tmp_path, columns):
    text = run_on_terminal(tmp_path, columns)
    answer = text.index("word0 ")
    assert "━" in text[:answer]
    assert "━" not in text[answer:]
    assert text[:answer].count("\x1b[?25l") == text[:answer].count("\x1b[?25h")  # the cursor
    assert "".join(f"word{number} " for number in range(20)) in text[answer:]
    assert re.search(r"prefill: 1,000 tokens in .* state 2.1 MB \+ KV 1.0 MB", text)
    assert r"[red]a\x1b[31m.pdf[/red]" in text
    assert "\x1b[31m.pdf" not in text
    panel = [line for line in clean(text[answer:]).splitlines() if "weights 270 MB" in line]
    assert len(panel) == 1
    assert "host peak 1.1 GB" in panel[0]
    assert len(panel[0]) < 80


def test_no_color_sets_no_color(tmp_path):
    colored = run_on_terminal(tmp_path, 80)
    plain = run_on_terminal(tmp_path, 80, NO_COLOR="1")
    styles = re.compile(r"\x1b\[[\d;]*m")
    assert styles.search(colored)
    assert not styles.search(plain)
    assert "━" in plain


def test_dumb_terminal_has_no_escape_at_all(tmp_path):
    text = run_on_terminal(tmp_path, 80, TERM="dumb")
    assert "\x1b" not in text
    assert "━" not in text
    assert "prefill: 1,000 tokens" in text


def test_decode_has_a_bar_where_the_answer_is_elsewhere(tmp_path):
    text = run_on_terminal(tmp_path, 80, stdout_piped=True)
    assert re.search(r"decode .*tokens/s", text[text.index("prefill: ") :])
    assert "decode: 19 tokens" in text


@pytest.mark.parametrize(
    ("text", "number"),
    [("4096", 4096), ("16k", 16384), ("1.5K", 1536), ("256k", 262144), ("1M", 2**20),
     ("2G", 2**31), ("20MiB", 20 * 2**20), ("20mb", 20 * 2**20), ("262,144", 262144)],
)  # fmt: skip
def test_human_counts(text, number):
    assert parse_count(text) == number


@pytest.mark.parametrize("text", ["", "k", "0", "-1", "1.5", "12x", "1e3", "0.0001k", "16 k k"])
def test_what_is_no_count(text):
    with pytest.raises(ValueError, match="is not a"):
        parse_count(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("812", 812), ("40m", 40_000_000), ("40M", 40_000_000), ("40 MB", 40_000_000),
     ("10k", 10_000), ("10K", 10_000), ("50G", 50 * 10**9), ("50gb", 50 * 10**9),
     ("1.1G", 1_100_000_000), ("2t", 2 * 10**12), ("2T", 2 * 10**12),
     ("20_000_000_000", 20 * 10**9), ("20,000", 20_000)],
)  # fmt: skip
def test_bytes_are_read_as_they_are_printed(text, number):
    assert parse_bytes(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "k", "0", "0G", "-1", "1.5", "0.0001k", "40MiB", "40Mi", "lots", "1e9", "5P", "2GG"],
)
def test_what_is_no_number_of_bytes(text):
    with pytest.raises(ValueError, match=r"is not a (whole )?number of bytes"):
        parse_bytes(text)


def test_numbers_for_people():
    sizes = [0, 812, 999, 1000, 2_100_000, 47_400_000, 999_600_000, 103_140_646_656, 5e15]
    assert [format_bytes(size) for size in sizes] == [
        "0 B", "812 B", "999 B", "1.0 kB", "2.1 MB", "47 MB", "1.0 GB", "103 GB", "5000 TB",
    ]  # fmt: skip
    times = [0, 9.84, 59.9, 60, 65.4, 3599.6, 7380]
    assert [format_seconds(seconds) for seconds in times] == [
        "0.0 s", "9.8 s", "59.9 s", "1 min 00 s", "1 min 05 s", "1 h 00 min", "2 h 03 min",
    ]  # fmt: skip
    assert [format_rate(*pair) for pair in [(418, 1), (7.26, 1), (12_000, 1), (5, 0)]] == [
        "418", "7.3", "12,000", "-",
    ]  # fmt: skip

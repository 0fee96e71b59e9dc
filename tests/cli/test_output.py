"""Output: what reaches which stream, and what never reaches a terminal."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
import subprocess
import sys
import textwrap

import pytest
from entry_point import hermetic_environ

from jamba_cli.output import Output
from jamba_cli.terminal import clean, visible, wants_color
from runtime.errors import JambaError

HOSTILE = "a\x1b]0;title\x07b\x1b[2Jc\x9b31md\re\x08f\x7f\u202egh\ti\nj\x00"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def make(**options):
    kind = Terminal if options.pop("tty", False) else io.StringIO
    return Output(stdout=kind(), stderr=kind(), **options)


def is_safe(text: str) -> bool:
    return all(char in "\n\t" or char.isprintable() for char in text)


def test_clean_leaves_only_newlines_and_tabs():
    assert clean(HOSTILE) == "a]0;titleb[2Jc31mdefgh\ti\nj"
    assert is_safe(clean("".join(map(chr, range(0x300)))).replace("\xad", "").replace("\xa0", ""))
    assert clean("grüße 你好 שלום 😀") == "grüße 你好 שלום 😀"


def test_visible_shows_every_control_character_on_one_line():
    assert visible("a\x1b[31m\n\t\r\x7f\u202e.pdf") == r"a\x1b[31m\n\t\r\x7f\u202e.pdf"
    assert visible(os.fsdecode(b"caf\xe9")) == r"caf\xe9"
    assert visible("grüße [bold]x[/bold]") == "grüße [bold]x[/bold]"


@pytest.mark.parametrize("tty", [False, True])
def test_answer_streams_clean_text_piece_by_piece(tty):
    output = make(tty=tty)
    for number, piece in enumerate(["one\x1b", "[31m two", HOSTILE]):
        output.answer(piece)
        assert output.stdout.getvalue().count("[31m") == (number >= 1)
    output.end_answer()
    output.end_answer()
    assert is_safe(output.stdout.getvalue())
    assert output.stdout.getvalue().endswith("\nj\n")
    assert output.stderr.getvalue() == ""


def test_answer_is_flushed_at_once():
    class Counting(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    stdout = Counting()
    output = Output(stdout=stdout, stderr=io.StringIO())
    output.answer("word ")
    assert stdout.flushed == 1


@pytest.mark.parametrize("tty", [False, True])
def test_messages_go_to_stderr_without_markup_or_escapes(tty):
    output = make(tty=tty, color="never")
    output.note(f"note [red]{HOSTILE}")
    output.warning("[/red] warn\x1b[1m")
    output.error(JambaError("bad\x1b", hint="try [link]"))
    assert output.stdout.getvalue() == ""
    text = output.stderr.getvalue()
    assert is_safe(text)
    assert "note [red]a\\x1b]0;title" in text
    assert "warning: [/red] warn\\x1b[1m\n" in text
    assert "error: bad\\x1b\nhint: try [link]\n" in text
    assert output.warnings == ["[/red] warn\\x1b[1m"]


def test_messages_while_a_bar_moves_are_safe_too():
    from rich.progress import Progress

    output = make(tty=True, color="never")
    with Progress(console=output.err_console) as progress:
        progress.add_task("x", total=1)
        output.live = progress
        output.warning("[bold]a\x1b[31m[/bold] " + "w" * 200)
    assert "warning: [bold]a\\x1b[31m[/bold] " + "w" * 200 in output.stderr.getvalue()


def test_quiet_keeps_warnings_and_errors():
    output = make(quiet=True, verbose=True)
    output.note("n")
    output.detail("d")
    output.warning("w")
    output.error("e")
    assert output.stderr.getvalue() == "warning: w\nerror: e\n"


def test_detail_needs_verbose():
    output = make()
    output.detail("d")
    assert output.stderr.getvalue() == ""
    output = make(verbose=True)
    output.detail("d")
    assert output.stderr.getvalue() == "d\n"


def test_message_does_not_continue_the_answer_s_line_on_a_terminal():
    stream = Terminal()
    output = Output(stdout=stream, stderr=stream, color="never")
    output.answer("half a line")
    output.note("interrupted")
    assert stream.getvalue() == "half a line\ninterrupted\n"
    piped = make()
    piped.answer("half a line")
    piped.note("interrupted")
    assert piped.stdout.getvalue() == "half a line"


def test_json_is_one_object_and_carries_no_control_character():
    output = make(json=True)
    output.answer("not shown")
    value = {"answer": HOSTILE, "path": os.fsdecode(b"caf\xe9"), "n": [1, None, True]}
    output.result(value)
    text = output.stdout.getvalue()
    assert is_safe(text)
    assert json.loads(text) == value


def test_json_refuses_what_json_has_not():
    with pytest.raises(ValueError, match="Out of range"):
        make(json=True).result({"rate": float("nan")})


def test_table_aligns_wide_characters_and_cuts_nothing():
    output = make()
    rows = [("4,096", "src/你好.py"), ("7", "x" * 200 + "\x1b")]
    output.table(("tokens", "file"), rows, ">")
    assert output.stdout.getvalue().splitlines() == [
        "tokens  file",
        " 4,096  src/你好.py",
        "     7  " + "x" * 200 + "\\x1b",
    ]
    output = make()
    output.table(("name", "n"), [("你好", "1"), ("abcde", "2")])
    assert output.stdout.getvalue() == "name   n\n你好   1\nabcde  2\n"


COLORS = [
    ({}, False, False),
    ({}, True, True),
    ({"NO_COLOR": "1"}, True, False),
    ({"NO_COLOR": ""}, True, True),
    ({"JAMBA_NO_COLOR": "1"}, True, False),
    ({"TERM": "dumb"}, True, False),
    ({"FORCE_COLOR": "1"}, False, True),
    ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
]


@pytest.mark.parametrize(("environ", "tty", "expected"), COLORS)
def test_color(environ, tty, expected):
    stream = Terminal() if tty else io.StringIO()
    assert wants_color(stream, "auto", environ) is expected
    assert wants_color(stream, "never", environ) is False
    assert wants_color(stream, "always", environ) is True


def test_each_stream_is_judged_by_itself():
    output = Output(stdout=io.StringIO(), stderr=Terminal(), color="auto")
    assert not output.stdout_is_tty
    assert output.stderr_is_tty
    assert not output.streams_to_terminal


def test_color_of_messages():
    output = make(tty=True, color="always")
    output.error("e")
    assert output.stderr.getvalue() == "\x1b[1;31merror: \x1b[0me\n"
    output = make(tty=True, color="never")
    output.error("e")
    output.line("x", "bold")
    assert "\x1b" not in output.stderr.getvalue() + output.stdout.getvalue()


def test_logs_go_through_the_output():
    output = make()
    with output:
        logging.getLogger("runtime.ops.scan").warning("slow path %s", "\x1b[31m")
        logging.getLogger("runtime.ops.scan").warning("slow path %s", "\x1b[31m")
        logging.getLogger("runtime.engine").info("detail")
        logging.getLogger("pypdf").warning("broken xref")
    logging.getLogger("runtime").info("after")
    assert output.stderr.getvalue() == "warning: slow path \\x1b[31m\n"
    output = make(verbose=True)
    with output:
        logging.getLogger("runtime.engine").info("detail")
        logging.getLogger("pypdf").warning("broken xref")
    assert output.stderr.getvalue() == "detail\npypdf: broken xref\n"


def test_output_file_keeps_mode_and_follows_links(tmp_path):
    target = tmp_path / "target.md"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "link.md").symlink_to(target)
    with make(path=tmp_path / "link.md") as output:
        output.answer("new")
    assert (tmp_path / "link.md").is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_new_output_file_obeys_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with make(path=tmp_path / "new.md") as output:
            output.answer("new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new.md").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["missing/answer.md", "directory", "file/answer.md"])
def test_output_file_that_cannot_be_is_refused_before_the_work(tmp_path, name):
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(JambaError, match=name):
        make(path=tmp_path / name)


def test_dash_is_stdout(tmp_path):
    from pathlib import Path

    with make(path=Path("-")) as output:
        output.answer("x")
    assert output.stdout.getvalue() == "x"


def test_full_disk_leaves_nothing_behind(tmp_path):
    code = """
        import resource, sys
        from pathlib import Path
        from jamba_cli.output import Output
        from runtime.errors import JambaError
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # stands in for a full disk
        try:
            with Output(path=Path("answer.md")) as output:
                for _ in range(100):
                    output.answer("x" * 100)
        except JambaError as error:
            sys.exit(error.message)
    """
    (tmp_path / "answer.md").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path, env=hermetic_environ(tmp_path / "home"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "answer.md: file too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["answer.md"]
    assert (tmp_path / "answer.md").read_text() == "old"


def test_device_is_written_not_replaced(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with make(path=fifo) as output:
        output.answer("through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_ascii_only_stdout_does_not_fail(jamba):
    done = jamba("models", PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 0


@pytest.mark.parametrize("together", [True, False])
def test_a_note_in_the_answers_own_file_begins_a_line(tmp_path, together):
    """`jamba ask ... > file 2>&1`: both streams are one open file."""
    first, second = tmp_path / "out", tmp_path / "err"
    with (
        first.open("w") as stdout,
        second.open("w") as other,
        os.fdopen(os.dup((stdout if together else other).fileno()), "w") as stderr,
    ):
        output = Output(stdout=stdout, stderr=stderr)
        output.answer("a piece")
        output.note("a note")
        output.answer("of it")
    assert first.read_text() == ("a piece\na note\nof it" if together else "a pieceof it")

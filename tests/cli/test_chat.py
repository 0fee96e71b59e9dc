"""`jamba chat` through the real entry point: from a pipe, and at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from entry_point import hermetic_environ

from tests.tiny_model import write_model

TEXT = "".join(f"Line {n} of the notes, and what it says.\n" for n in range(1, 40))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("models") / "tiny", context=40_000))


@pytest.fixture
def notes(tmp_path):
    (tmp_path / "notes.txt").write_text(TEXT)
    return "notes.txt"


def computed(stderr: str) -> list[int]:
    return [
        int(number.replace(",", "")) for number in re.findall(r"computed ([\d,]+); first", stderr)
    ]


def test_questions_from_a_pipe_are_answered_one_a_line(jamba, model, notes, tmp_path):
    done = jamba(
        "chat", notes, "-m", model, "--max-tokens", "9",
        stdin='what?\n\n/retry\n/undo\n"""\na text\nof lines\n"""\nlong \\\nquestion\n/sources\n',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(computed(done.stderr)) == 4
    assert computed(done.stderr)[1] == 0  # the retry
    assert "taken back: Question: what?" in done.stderr
    assert "\nnotes.txt\n" in done.stderr
    assert "notes.txt" not in done.stdout
    assert "> " not in done.stderr
    assert not (tmp_path / "data").exists()  # what comes from a pipe is no typed history


def test_the_answers_are_those_of_ask(jamba, model, notes):
    done = jamba("chat", notes, "-m", model, "--max-tokens", "9", stdin="what?\n")
    asked = jamba("ask", notes, "what?", "-m", model, "--max-tokens", "9")
    assert "re-used" in asked.stderr
    assert "re-used 0 of" not in asked.stderr
    assert done.stdout == asked.stdout + "\n"


def test_a_named_context_is_talked_to_without_its_sources(jamba, model, notes, tmp_path):
    assert jamba("ingest", notes, "--name", "n", "-m", model).returncode == 0
    (tmp_path / notes).unlink()
    done = jamba("chat", "@n", "--max-tokens", "5", stdin="what?\n/exit\nnever read\n")
    assert done.returncode == 0, done.stderr
    assert re.search(r"context: re-used ([\d,]+) of \1 tokens, computed 0", done.stderr)
    assert len(computed(done.stderr)) == 1


def test_a_document_that_does_not_fit_is_refused_before_the_model_is_loaded(jamba, model, notes):
    done = jamba("chat", notes, "-m", model, "--context", "2000", stdin="what?\n")
    assert done.returncode == 4
    assert "2,000 leaves 1,232" in done.stderr
    assert "jamba ask" in done.stderr
    assert "load:" not in done.stderr
    assert done.stdout == ""


def test_an_error_in_a_pipe_ends_the_run(jamba, model, notes):
    done = jamba("chat", notes, "-m", model, stdin="/nothing\nwhat?\n")
    assert done.returncode == 2
    assert "/nothing: no such command" in done.stderr
    assert done.stdout == ""


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, tmp_path: Path, *argv: str, **environ: str) -> None:
        self.text = ""
        self._seen = 0
        pid, self._fd = pty.fork()
        if pid == 0:
            os.chdir(tmp_path)
            os.execve(
                sys.executable,
                [sys.executable, "-m", "jamba_cli", *argv],
                hermetic_environ(tmp_path, **environ),
            )
        self.pid = pid

    def until(self, wanted: str, timeout_s: float = 60) -> str:
        """Reads until a text appears; returns what came since the one waited for before."""
        deadline = time.monotonic() + timeout_s
        while (place := self.text.find(wanted, self._seen)) < 0:
            ready, _, _ = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"waited for {wanted!r}, got {self.text[self._seen :]!r}"
            try:
                data = os.read(self._fd, 65_536)
            except OSError:
                data = b""
            assert data, f"ended before {wanted!r}: {self.text[self._seen :]!r}"
            self.text += data.decode("utf-8", "replace")
        start, self._seen = self._seen, place + len(wanted)
        return self.text[start : self._seen]

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """The exit code, once it has ended."""
        for _ in range(600):
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            ready, _, _ = select.select([self._fd], [], [], 0.1)
            if ready:
                try:
                    self.text += os.read(self._fd, 65_536).decode("utf-8", "replace")
                except OSError:
                    time.sleep(0.05)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        pytest.fail(f"does not end: {self.text!r}")


def test_ctrl_c_stops_the_answer_and_stays_and_ctrl_d_leaves(tmp_path, model, notes):
    chat = Terminal(tmp_path, "chat", notes, "-m", model, "--max-tokens", "30k", NO_COLOR="1")
    chat.until("/help lists the commands")
    chat.until("> ")
    chat.type("what?\n")
    chat.until("what?")
    time.sleep(1.5)  # into the answer, longer than the grace after a first Ctrl-C
    chat.type("\x03")
    chat.until("stopped")
    chat.until("> ")
    time.sleep(0.5)  # a Ctrl-C at the very moment in which a line editor starts is lost in it
    chat.type("half a line")
    chat.until("half a line")
    chat.type("\x03")
    chat.until("> ")
    time.sleep(1.2)  # nor does it end later
    chat.type("/sources\n")
    assert "notes.txt" in chat.until("notes.txt")
    chat.until("> ")
    chat.type("/nothing\n")
    chat.until("no such command")
    chat.until("> ")
    chat.type("\x04")
    assert chat.end() == 0
    assert "Traceback" not in chat.text
    history = tmp_path / "data" / "jamba" / "chat_history"
    assert "what?" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_no_history_is_kept_where_nothing_is(tmp_path, model, notes):
    chat = Terminal(
        tmp_path, "chat", notes, "-m", model, "--max-tokens", "3", "--no-save", NO_COLOR="1"
    )
    chat.until("> ")
    chat.type("what?\n")
    chat.until("context: re-used")
    chat.until("> ")
    chat.type("/exit\n")
    assert chat.end() == 0
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "cache" / "jamba").exists()


def test_sigterm_ends_a_chat(tmp_path, model, notes):
    process = subprocess.Popen(
        [sys.executable, "-m", "jamba_cli", "chat", notes, "-m", model],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path, env=hermetic_environ(tmp_path),
    )  # fmt: skip
    for line in process.stderr:
        if line.startswith("context:"):
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143

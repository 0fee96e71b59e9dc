"""The frame of the command line: start, exit codes, signals, pipes."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from entry_point import EXTRA, ROOT

HEAVY = {"torch", "transformers", "pypdf", "pypdfium2", "rich", "numpy", "huggingface_hub"}


def start(environ, *argv: str, **kwargs):
    return subprocess.Popen(
        [sys.executable, str(EXTRA), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        **kwargs,
    )


def test_help_imports_nothing_heavy(environ):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jamba_cli", "--help"],
        capture_output=True, text=True, check=True, env=environ, cwd=ROOT,
    )  # fmt: skip
    imported = {
        match[1].split(".")[0] for match in re.finditer(r"\|\s+([\w.]+)$", done.stderr, re.M)
    }
    assert {"typer", "jamba_cli", "runtime"} <= imported
    assert not imported & HEAVY


def test_help_answers_in_300_ms(environ):
    def processor_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(4):
        before = processor_s()
        command = [sys.executable, "-m", "jamba_cli", "--help"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environ)
        times.append(processor_s() - before)
    # Processor time, and its least: the tests may share the machine.
    assert min(times) < 0.3


def test_help_names_the_commands_and_fits_80_columns(jamba):
    for arguments in ([], ["-h"], ["--help"]):
        done = jamba(*arguments)
        assert done.returncode == 0
        for command in ("summarize", "ask", "tokens", "models", "doctor", "bench"):
            assert re.search(rf"^  {command}  +\w", done.stdout, re.M)
        assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", ["summarize", "ask", "tokens", "models", "doctor", "bench"])
def test_every_command_has_help(jamba, command):
    done = jamba(command, "-h")
    assert done.returncode == 0
    assert f"Usage: jamba {command}" in done.stdout


def test_version(jamba):
    done = jamba("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"jamba \d+\.\d+\.\d+\n", done.stdout)


def test_unknown_command_suggests_the_right_one(jamba):
    done = jamba("sumarise")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: no such command 'sumarise'. Did you mean 'summarize'?\nhint: see 'jamba --help'\n"
    )


def test_unknown_option_is_a_usage_error(jamba):
    done = jamba("tokens", "--jsn")
    assert done.returncode == 2
    assert "--jsn" in done.stderr
    assert "--json" in done.stderr
    assert "hint: see 'jamba tokens --help'" in done.stderr


def test_expected_error_is_one_line_with_a_hint_and_no_escapes(jamba):
    done = jamba("expected", extra=True)
    assert done.returncode == 4
    assert done.stderr == ("error: a\\x1b[31mb.pdf is\n  too long\nhint: drop [bold]it[/bold]\n")


def test_bug_shows_its_traceback_only_when_asked(jamba):
    done = jamba("bug", extra=True)
    assert done.returncode == 1
    assert done.stderr == (
        "error: internal: KeyError: 'no such thing'\nhint: JAMBA_DEBUG=1 shows the traceback\n"
    )
    done = jamba("bug", extra=True, JAMBA_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr


def test_out_of_memory(jamba):
    done = jamba("memory", extra=True)
    assert done.returncode == 5
    assert done.stderr.startswith("error: out of memory\nhint: ")


def test_reader_that_leaves_stops_the_command_quietly(environ):
    process = start(environ, "stream", "1000000")
    assert process.stdout.read(6) == "word0 "
    process.stdout.close()
    assert process.wait(timeout=10) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize("options", [[], ["-q"]])
def test_reader_that_leaves_stops_work_that_writes_nothing(environ, options):
    process = start(environ, "silent", *options)
    assert process.stderr.readline() == "warning: ready\n"
    process.stdout.close()
    assert process.wait(timeout=10) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_reader_that_leaves_before_help_is_written(environ):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "jamba_cli", "--help"],
        stdout=write_end, stderr=subprocess.PIPE, env=environ,
    )  # fmt: skip
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("argv", [["--help"], ["stream", "3"]])
def test_full_disk_behind_stdout(environ, argv):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, str(EXTRA), *argv],
            stdout=full, stderr=subprocess.PIPE, text=True, env=environ,
        )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"^error: .*no space left", done.stderr)
    assert "internal" not in done.stderr


def test_closed_standard_streams(environ):
    for closed in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        done = subprocess.run(
            f'"{sys.executable}" "{EXTRA}" stream 3 {closed}', shell=True, env=environ,
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), closed


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
@pytest.mark.parametrize("command", ["sleep", "busy", "lingering"])
def test_signal_ends_within_a_second(environ, command, number, code, word):
    process = start(environ, command)
    assert process.stderr.readline() == "ready\n"
    began = time.perf_counter()
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    # The target is a second; the rest is a busy machine's.
    assert time.perf_counter() - began < 1.5
    assert process.returncode == code
    assert errors == f"{word}\n"


def test_interrupt_that_a_library_turned_into_an_error(environ):
    process = start(environ, "translated")
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, "interrupted\n")


def test_second_signal_does_not_wait(environ):
    process = start(environ, "busy")
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.2)  # until it is inside of the call
    began = time.perf_counter()
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.perf_counter() - began < 0.7


def test_output_file_appears_whole(jamba, tmp_path):
    done = jamba("stream", "3", "-o", "answer.md", extra=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "answer.md").read_text() == "word0 word1 word2 \n"
    assert [path.name for path in tmp_path.glob("*answer*")] == ["answer.md"]
    assert not list(tmp_path.glob(".jamba-*"))


def test_error_leaves_the_old_file_alone(jamba, tmp_path):
    (tmp_path / "answer.md").write_text("old")
    assert jamba("spoiled", "-o", "answer.md", extra=True).returncode == 4
    assert (tmp_path / "answer.md").read_text() == "old"
    assert not list(tmp_path.glob(".jamba-*"))
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("command", [["stream", "1000", "--pause", "0.01"], ["busy"]])
def test_interrupt_keeps_the_partial_answer(environ, tmp_path, command):
    process = start(environ, *command, "-o", "answer.md", cwd=tmp_path)
    until = time.monotonic() + 10
    while not any(path.stat().st_size for path in tmp_path.glob(".jamba-*")):
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert not (tmp_path / "answer.md").exists()
    assert not list(tmp_path.glob(".jamba-*"))
    assert (tmp_path / "answer.md.partial").read_text().startswith(("word0 ", "so far"))


def test_completion_script_and_completion(jamba):
    done = jamba("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "_JAMBA_COMPLETE=complete_bash" in done.stdout
    done = jamba(_JAMBA_COMPLETE="complete_bash", COMP_WORDS="jamba to", COMP_CWORD="1")
    assert done.stdout.split() == ["tokens"]


def test_runs_outside_the_main_thread():
    from concurrent.futures import ThreadPoolExecutor

    from jamba_cli.app import main

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, ["nonsense"]).result() == 2


def test_reference_page_is_what_the_program_says():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "reference" / "generate.py", "--check"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

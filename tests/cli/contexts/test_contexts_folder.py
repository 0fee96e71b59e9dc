"""A contexts folder that is no folder, or can't be read or written, is said in a line.

Through the real entry point, with a tiny model of random weights whose tokens are bytes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from entry_point import hermetic_environ

READING = [
    ("contexts",),
    ("contexts", "gc"),
    ("contexts", "verify"),
    ("contexts", "rm", "--all"),
    ("contexts", "rm", "@notes"),
    ("contexts", "show", "@notes"),
    ("ask", "@notes", "what?"),
]
PLAIN = ("setpriv", "--bounding-set=-dac_override,-dac_read_search",
         "--inh-caps=-dac_override,-dac_read_search")  # fmt: skip
HINT = "hint: JAMBA_CONTEXTS names another folder for them"


@pytest.fixture
def plain(tmp_path):
    """As `jamba`, as somebody whom the modes of files hold for."""
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root may write everywhere")
    prefix = PLAIN if os.geteuid() == 0 else ()

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, sys.executable, "-m", "jamba_cli", *argv], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, cwd=tmp_path,
            env=hermetic_environ(tmp_path),
        )  # fmt: skip

    return run


@pytest.mark.parametrize("argv", READING)
def test_a_file_in_place_of_the_folder_is_not_an_empty_folder(here, store, argv):
    store.parent.mkdir(parents=True)
    store.write_text("a file")
    done = here(*argv)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [f"error: saved contexts: {store}: Not a directory", HINT]
    assert store.read_text() == "a file"


def test_a_question_is_answered_without_the_folder(here, store, notes, model):
    store.parent.mkdir(parents=True)
    store.write_text("a file")
    done = here("ask", "notes.txt", "what?", "-m", model, "--max-tokens", "5")
    assert done.returncode == 0, done.stderr
    assert f"warning: not saved: {store}: Not a directory" in done.stderr.splitlines()
    assert f"warning: saved contexts: {store}: Not a directory" in done.stderr.splitlines()


@pytest.mark.parametrize("argv", READING)
def test_a_folder_that_can_not_be_entered_is_said(plain, ingested, store, argv):
    store.chmod(0)
    done = plain(*argv)
    store.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [f"error: saved contexts: {store}: Permission denied", HINT]


def test_a_question_is_answered_past_a_folder_that_can_not_be_entered(
    plain, ingested, store, model
):
    store.chmod(0)
    done = plain("ask", "notes.txt", "what?", "-m", model, "--max-tokens", "5")
    store.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert f"warning: saved contexts: {store}: Permission denied" in done.stderr.splitlines()


@pytest.mark.parametrize("argv", [("gc",), ("rm", "--all"), ("rm", "@notes")])
def test_what_can_not_be_removed_is_said(plain, ingested, store, argv):
    read_only(store)
    done = plain("contexts", *argv)
    writable(store)
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: saved contexts: {store}/")
    assert (error.endswith(": Permission denied"), hint) == (True, HINT)


def test_ingest_says_that_it_can_not_write_before_it_reads(plain, ingested, store, tmp_path, model):
    (tmp_path / "other.txt").write_text("Another text. " * 200)
    read_only(store)
    done = plain("ingest", "other.txt", "-m", model)
    again = plain("ingest", "notes.txt", "-m", model)
    writable(store)
    assert (done.returncode, "prefill" in done.stderr) == (1, False)
    assert f"error: saved contexts: {store}" in done.stderr
    assert again.returncode == 0, again.stderr  # it is there already


def read_only(store) -> None:
    for path in (store / "locks", store / "names", *store.glob("?" * 16), store):
        path.chmod(0o500)


def writable(store) -> None:
    for path in (store, store / "locks", store / "names", *store.glob("?" * 16)):
        path.chmod(0o700)

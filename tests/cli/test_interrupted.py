"""Reading that is stopped keeps its last checkpoint; two processes read a document once."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from entry_point import hermetic_environ

from tests.tiny_model import write_model

LINES = 2_000  # of 16 bytes, each a token


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("models") / "tiny", context=400_000))


@pytest.fixture
def start(tmp_path, model):
    (tmp_path / "a.txt").write_text("words and words\n" * LINES)
    running = []

    def run(*argv: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "jamba_cli", *argv, "-m", model],
            stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
            env=hermetic_environ(tmp_path),
        )  # fmt: skip
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def wait_for_checkpoint(tmp_path) -> None:
    for _ in range(600):
        if any((tmp_path / "cache" / "jamba" / "contexts").glob("*/*.safetensors")):
            return
        time.sleep(0.05)
    pytest.fail("nothing was saved in half a minute")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_ingest_goes_on_from_its_last_checkpoint(start, tmp_path, number, code):
    command = ("ingest", "a.txt", "--name", "a", "--json")
    process = start(*command)
    wait_for_checkpoint(tmp_path)
    process.send_signal(number)
    started = time.monotonic()
    out, errors = process.communicate(timeout=30)
    assert time.monotonic() - started < 3
    assert process.returncode == code, errors
    assert out == ""
    assert "Traceback" not in errors
    said = re.search(r"the same command continues at token ([\d,]+) of ([\d,]+)", errors)
    assert said is not None, errors
    kept, total = (int(text.replace(",", "")) for text in said.groups())
    assert 0 < kept < total
    again = start(*command)
    out, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    result = json.loads(out)
    assert kept <= result["tokens"]["reused"] < total == result["tokens"]["input"]


def test_a_second_process_waits_for_the_first_and_takes_what_it_read(start, tmp_path):
    first = start("ingest", "a.txt", "--name", "one")
    wait_for_checkpoint(tmp_path)
    second = start("ask", "a.txt", "what?", "--json", "--max-tokens", "3")
    out, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert "another jamba reads the same document: waiting for it" in errors
    assert first.wait(timeout=5) == 0
    assert json.loads(out)["tokens"]["reused"] > 16 * LINES

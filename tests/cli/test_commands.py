"""`summarize` and `ask` through the real entry point, with a tiny model of random weights.

What the model says is noise; what is tested is everything around it.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time

import pytest
from entry_point import hermetic_environ

from tests.pdf_samples import running_pages, write_pdf
from tests.tiny_model import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("models") / "tiny", context=3000))


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("".join(f"Line {n} of the notes.\n" for n in range(1, 30)))
    return path


def test_the_answer_is_on_stdout_and_everything_else_on_stderr(jamba, model, notes):
    run = jamba("ask", "notes.txt", "what is it?", "-m", model, "--max-tokens", "20")
    assert run.returncode == 0
    assert run.stdout.strip()
    for phase in ("read: 1 file", "tokenize:", "load:", "prefill:", "decode: 20 tokens"):
        assert phase in run.stderr
        assert phase not in run.stdout
    assert "the answer was cut at --max-tokens 20" in run.stderr


def test_quiet_says_only_what_must_be_said(jamba, model, notes):
    run = jamba("ask", "notes.txt", "what?", "-q", "-m", model, "--max-tokens", "5")
    assert run.stdout.strip()
    assert [line.split(":")[0] for line in run.stderr.splitlines()] == ["warning"]


def test_json_is_one_object_with_the_documented_keys(here, model, notes):
    run = here("summarize", "notes.txt", "--json", "-m", model, "--max-tokens", "12", "-q")
    result = json.loads(run.stdout)
    assert result.keys() == {
        "schema_version", "command", "model", "device", "answer", "found", "complete",
        "references", "tokens", "context", "windows", "dropped", "timings_s", "memory_bytes",
        "warnings",
    }  # fmt: skip
    assert result["context"].keys() == {
        "reused", "computed", "checkpoint", "ids", "saved", "reason", "save_s",
    }  # fmt: skip
    assert result["schema_version"] == 1
    assert result["command"] == "summarize"
    assert result["tokens"].keys() == {"input", "reused", "generated", "document"}
    assert result["tokens"]["generated"] == 12
    assert result["timings_s"].keys() == {"read", "load", "prefill", "first_token", "decode"}
    assert {"weights", "kv_cache", "ssm_state", "workspace_peak", "host_peak"} <= (
        result["memory_bytes"].keys()
    )
    assert result["windows"] == 1
    assert not result["complete"]


def test_greedy_answers_repeat_and_chunks_change_nothing(here, model, notes):
    def answer(*extra: str) -> str:
        run = here("ask", "notes.txt", "q?", "-m", model, "--max-tokens", "30", "-q", *extra)
        return run.stdout

    whole = answer()
    assert answer() == whole
    assert answer("--chunk-tokens", "7") == whole
    assert answer("--temperature", "2", "--seed", "1") == answer(
        "--temperature", "2", "--seed", "1"
    )
    assert answer("--temperature", "2", "--seed", "1") != whole


def test_too_long_is_read_in_windows_and_said_with_numbers(here, model, tmp_path):
    (tmp_path / "long.txt").write_text("Some words to fill it.\n" * 400)
    run = here("ask", "long.txt", "what?", "-m", model, "--max-tokens", "9", "--json")
    result = json.loads(run.stdout)
    assert result["windows"] >= 4
    assert result["tokens"]["document"] > 9_000
    assert any("do not fit the 2,991" in warning for warning in result["warnings"])


def test_too_long_can_be_refused_or_dropped_by_name(here, model, tmp_path):
    (tmp_path / "long.txt").write_text("Some words to fill it.\n" * 400)
    (tmp_path / "short.txt").write_text("Short.\n")
    refused = here("summarize", ".", "-m", model, "--over-budget", "fail")
    assert refused.returncode == 4
    assert "tokens do not fit the" in refused.stderr
    assert refused.stdout == ""
    dropped = here("summarize", ".", "-m", model, "--over-budget", "drop", "--max-tokens", "5")
    assert dropped.returncode == 0
    assert "dropped to fit the context: long.txt (" in dropped.stderr


def test_standard_input_is_the_document(jamba, model):
    named = jamba("ask", "-", "what changed?", "-m", model, "--max-tokens", "5", stdin="a diff\n")
    piped = jamba("ask", "what changed?", "-m", model, "--max-tokens", "5", stdin="a diff\n")
    assert (named.returncode, piped.returncode) == (0, 0)
    assert named.stdout == piped.stdout
    empty = jamba("ask", "-", "what?", "-m", model)
    assert empty.returncode == 3
    assert empty.stderr.count("\n") <= 3


def test_a_question_or_a_source_that_is_missing_is_a_usage_error(here, model, notes):
    for argv in (["ask"], ["ask", "notes.txt"], ["ask", "notes.txt", " "]):
        run = here(*argv, "-m", model)
        assert run.returncode == 2, run.stderr
        assert "error:" in run.stderr
    assert here("summarize", "notes.txt", "--length", "enormous", "-m", model).returncode == 2


@pytest.mark.parametrize(
    ("argv", "code", "named"),
    [
        (["ask", "missing.pdf", "q"], 3, "missing.pdf"),
        (["ask", "notes.txt", "q", "-m", "no/such-model"], 6, "no/such-model"),
        (["ask", "notes.txt", "q", "--context", "9M"], 2, "--context"),
        (["ask", "notes.txt", "q", "--device", "cuda:9"], 2, "cuda:9"),
        (["ask", "notes.txt", "q", "--top-p", "7"], 2, "top-p"),
        (["ask", "notes.txt", "q", "--max-tokens", "2999"], 4, "no room"),
        (["ask", "notes.txt", "q", "--max-tokens", "3000"], 2, "--max-tokens"),
        (["ask", "notes.txt", "q", "--pages", "1-2"], 2, "--pages"),
    ],
)
def test_errors_are_one_line_with_a_code_and_leave_stdout_empty(
    here, model, notes, argv, code, named
):
    run = here(*argv, *([] if "-m" in argv else ["-m", model]), "-q")
    assert run.returncode == code, run.stderr
    assert run.stdout == ""
    assert run.stderr.startswith("error:")
    assert named in run.stderr
    assert len(run.stderr.splitlines()) <= 2


def test_output_goes_to_the_file_and_plain_text_has_no_marks(here, model, notes, tmp_path):
    run = here("summarize", "notes.txt", "-m", model, "--max-tokens", "9", "-o", "out.md")
    assert run.returncode == 0
    assert run.stdout == ""
    assert (tmp_path / "out.md").read_text().strip()
    same = here("summarize", "notes.txt", "-m", model, "--max-tokens", "9")
    assert same.stdout == (tmp_path / "out.md").read_text()
    plain = here("summarize", "notes.txt", "-m", model, "--max-tokens", "9", "--format", "text")
    assert plain.returncode == 0


def test_nothing_is_written_to_the_current_directory(here, model, notes, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    here("ask", "notes.txt", "q?", "-m", model, "--max-tokens", "3")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def slow_model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("slow") / "tiny", context=400_000))


@pytest.mark.parametrize("moment", ["prefill", "decode"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_prefill_and_decode_within_a_second(tmp_path, slow_model, moment, number, code):
    size = 250_000 if moment == "prefill" else 40
    (tmp_path / "a.txt").write_text("words and words\n" * (size // 16 + 1))
    argv = ["ask", "a.txt", "q?", "-m", slow_model, "-o", "out.txt", "-v"]
    argv += ["--max-tokens", "100k"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jamba_cli", *argv],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env=hermetic_environ(tmp_path),
    )  # fmt: skip
    try:
        wanted = "load:" if moment == "prefill" else "prefill:"
        for line in process.stderr:
            if line.startswith(wanted):
                break
        else:
            pytest.fail("the command ended before it got there")
        time.sleep(0.5)
        process.send_signal(number)
        started = time.monotonic()
        _, errors = process.communicate(timeout=20)
        elapsed_s = time.monotonic() - started
    finally:
        process.kill()
    assert process.returncode == code, errors
    assert elapsed_s < 2  # one second as designed, another for a busy machine
    assert "Traceback" not in errors
    assert not (tmp_path / "out.txt").exists()
    if moment == "decode":
        assert (tmp_path / "out.txt.partial").stat().st_size > 0


def test_a_reader_that_leaves_ends_the_work(tmp_path, model, notes):
    command = f'"{sys.executable}" -m jamba_cli ask notes.txt q? -m "{model}" --max-tokens 2000'
    run = subprocess.run(
        ["bash", "-c", f"{command} | head -c 3; echo ${{PIPESTATUS[0]}} >&2"],
        capture_output=True, cwd=tmp_path, env=hermetic_environ(tmp_path), timeout=60,
    )  # fmt: skip
    assert len(run.stdout) <= 3
    assert run.stderr.splitlines()[-1] == b"141"
    assert b"Traceback" not in run.stderr


def test_a_folder_with_a_pdf_and_code_is_one_document(here, model, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "a.py").write_text("def f():\n    return 1\n")
    (tmp_path / "r" / "b.pdf").write_bytes(write_pdf(running_pages(2)))
    run = here("tokens", "r", "-m", model, "--json")
    found = [(s["path"], s.get("page")) for s in json.loads(run.stdout)["sources"]]
    assert found == [("a.py", None), ("b.pdf", 1), ("b.pdf", 2)]
    asked = here("ask", "r", "what is f?", "-m", model, "--max-tokens", "3", "--json", "-q")
    total = json.loads(run.stdout)["total_tokens"]
    assert json.loads(asked.stdout)["tokens"]["document"] > total  # and the question


def test_hostile_bytes_never_give_a_traceback(here, model, tmp_path):
    """Random and bit-flipped files end as an answer or as one clear line."""
    draw = random.Random(5)
    good = write_pdf(running_pages(2))
    for number in range(60):
        kind = number % 4
        if kind == 0:
            data = draw.randbytes(draw.randrange(1, 400))
        elif kind == 1:
            data = good[: draw.randrange(1, len(good))]
        elif kind == 2:
            data = bytearray(good)
            for _ in range(20):
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        else:
            data = "".join(chr(draw.randrange(0x20000)) for _ in range(200)).encode(
                "utf-8", "surrogatepass"
            )
        name = draw.choice(["x.pdf", "x.txt", "x.py", "x.ipynb", "x.html"])
        (tmp_path / name).write_bytes(bytes(data))
        run = here("tokens", name, "-m", model)
        assert run.returncode in (0, 3), (name, run.stderr)
        assert "Traceback" not in run.stderr
        assert "internal" not in run.stderr
        assert "\x1b" not in run.stdout + run.stderr
        (tmp_path / name).unlink()

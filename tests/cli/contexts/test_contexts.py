"""What is read once is kept: asked again it is taken from disk, by content or by name.

Through the real entry point, with a tiny model of random weights whose tokens are bytes.
"""

from __future__ import annotations

import errno
import json
import shutil

from runtime.contexts import files
from tests.tiny_model import TEXT, write_model


def listed(here) -> list[dict]:
    return json.loads(here("contexts", "--json").stdout)["contexts"]


def test_the_second_question_takes_the_document_from_disk(ask, notes):
    said: list[str] = []
    first = ask("notes.txt", "what?")
    assert first["tokens"]["reused"] == 0
    assert first["context"]["saved"]
    second = ask("notes.txt", "and what else?", said=said)
    total, reused = second["tokens"]["input"], second["tokens"]["reused"]
    assert reused > len(TEXT)
    assert total - reused < 100  # the question, and the end of the turn
    assert second["context"] == {
        "reused": reused, "computed": total - reused, "checkpoint": None,
        "ids": first["context"]["ids"], "saved": True, "reason": None, "save_s": 0.0,
    }  # fmt: skip
    assert f"context: re-used {reused:,} of {total:,} tokens, computed {total - reused}" in said
    fresh = ask("notes.txt", "and what else?", "--no-save", JAMBA_CONTEXTS="elsewhere")
    assert fresh["tokens"]["reused"] == 0
    assert fresh["answer"] == second["answer"]


def test_another_place_and_another_task_share_what_is_the_same(ask, notes, tmp_path):
    ask("notes.txt", "what?")
    (tmp_path / "sub").mkdir()
    shutil.copy(notes, tmp_path / "sub" / "notes.txt")
    moved = ask(str(tmp_path / "sub" / "notes.txt"), "what?", "--exclude", "*.zip")
    assert moved["tokens"]["reused"] == 0  # its path is another, and stands in the prompt
    folder = ask(str(tmp_path / "sub"), "what?")
    assert folder["tokens"]["reused"] > len(TEXT)  # shown as notes.txt, as the first was
    summary = ask("notes.txt", command="summarize")
    assert summary["tokens"]["reused"] > len(TEXT)


def test_an_edit_at_the_end_keeps_what_is_before_it(ask, notes, tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"{name} " * 600 + "\n")
    sources = ["a.txt", "b.txt", "c.txt"]
    ask(*sources, "what?")
    (tmp_path / "c.txt").write_text("c " * 300 + "changed\n")
    said: list[str] = []
    result = ask(*sources, "what?", said=said)
    assert 2 * 1200 < result["tokens"]["reused"] < 2 * 1200 + 400
    assert result["context"]["checkpoint"] == "c.txt"
    assert any("(checkpoint at c.txt), computed" in line for line in said)


def test_nothing_is_kept_when_it_is_switched_off(ask, notes, store, tmp_path, here):
    (tmp_path / "config.toml").write_text("save = false\n")
    said: list[str] = []
    for extra in (
        {"argv": ["--no-save"]},
        {"JAMBA_NO_SAVE": "1"},
        {"JAMBA_SAVE": "off"},
        {"JAMBA_CONFIG": str(tmp_path / "config.toml")},
    ):
        argv = extra.pop("argv", [])
        result = ask("notes.txt", "what?", *argv, said=said, **extra)
        assert not result["context"]["saved"]
        assert result["context"]["ids"] == []
    assert listed(here) == []
    assert not store.exists()
    for origin in ("command line", "environment", "config.toml"):
        assert any("not saved: switched off by the" in one and origin in one for one in said)
    assert here("ingest", "notes.txt", JAMBA_NO_SAVE="1").returncode == 2


def test_what_is_there_is_used_even_where_nothing_is_kept(ask, notes):
    ask("notes.txt", "what?")
    result = ask("notes.txt", "what?", "--no-save")
    assert result["tokens"]["reused"] > len(TEXT)


def test_a_short_document_is_not_worth_a_file(ask, tmp_path, here):
    (tmp_path / "short.txt").write_text("Short.\n")
    said: list[str] = []
    result = ask("short.txt", "what?", said=said)
    assert result["context"]["reason"] == "shorter than 1,024 tokens"
    assert any("not saved: shorter than 1,024 tokens" in line for line in said)
    assert listed(here) == []


def test_windows_are_contexts_of_their_own_and_serve_every_question(ask, tmp_path, here):
    (tmp_path / "long.txt").write_text("".join(f"Line {n} says so.\n" for n in range(900)))
    first = ask("long.txt", "what?")
    assert first["windows"] >= 3
    assert len(first["context"]["ids"]) == first["windows"] == len(listed(here))
    again = ask("long.txt", "what else is said there, and who said it to whom?")
    assert again["windows"] == first["windows"]
    assert again["context"]["ids"] == first["context"]["ids"]
    # All but the heads of the windows' questions, and the notes.
    assert again["tokens"]["reused"] > 0.95 * 900 * len("Line 100 says so.\n")
    summary = ask("long.txt", command="summarize")
    assert summary["context"]["ids"] == first["context"]["ids"]
    (tmp_path / "long.txt").write_text(
        "".join(f"Line {n} says so.\n" for n in range(899)) + "An edit of the end.\n"
    )
    edited = ask("long.txt", "what?")
    assert edited["context"]["ids"][:-2] == first["context"]["ids"][:-2]


def test_another_model_has_its_own_contexts(ask, here, notes, tmp_path):
    other = str(write_model(tmp_path / "other", context=6000, style="quote"))
    ask("notes.txt", "what?")
    done = here("ask", "notes.txt", "what?", "-m", other, "--max-tokens", "3", "--json")
    assert json.loads(done.stdout)["tokens"]["reused"] == 0


# What goes wrong


def test_a_damaged_context_is_said_in_one_line_and_computed_again(ask, notes, store, here):
    first = ask("notes.txt", "what?")
    segment = min(store.glob("*/*.safetensors"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 4
    segment.write_bytes(data)
    second = ask("notes.txt", "what?")
    assert second["answer"] == first["answer"]
    assert second["tokens"]["reused"] == 0
    [warning] = [one for one in second["warnings"] if "not used" in one]
    assert "checksum" in warning
    assert ask("notes.txt", "what?")["tokens"]["reused"] > len(TEXT)


def test_a_full_disk_is_one_warning_and_the_answer_still_comes(ask, notes, here, monkeypatch):
    wanted = ask("notes.txt", "what?", "--no-save")

    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    result = ask("notes.txt", "what?")
    assert result["answer"] == wanted["answer"]
    assert not result["context"]["saved"]
    assert len([one for one in result["warnings"] if "No space left" in one]) == 1
    failed = here("ingest", "notes.txt", "--name", "n")
    assert failed.returncode != 0
    assert "error:" in failed.stderr


def test_a_folder_that_can_not_be_written_is_one_warning(ask, notes, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = ask("notes.txt", "what?", JAMBA_CONTEXTS=str(tmp_path / "file" / "contexts"))
    assert result["answer"]
    assert len([one for one in result["warnings"] if "not saved" in one]) == 1


def test_a_quota_that_is_too_small_is_said(ask, notes):
    result = ask("notes.txt", "what?", JAMBA_CONTEXT_QUOTA="10k")
    assert any("quota" in one for one in result["warnings"])
    assert result["context"]["reason"] == "see the warning"


def test_a_quota_counts_all_that_an_ingest_takes(here, notes, model, store, tmp_path):
    ingest = ["ingest", "notes.txt", "-m", model]
    assert here(*ingest).returncode == 0
    nbytes = sum(path.stat().st_size for path in store.glob("*/*"))
    for quota, code in ((nbytes - 1, 1), (nbytes, 0)):
        here("contexts", "rm", "--all")
        done = here(*ingest, JAMBA_CONTEXT_QUOTA=str(quota))
        assert done.returncode == code, done.stderr
        assert ("more than the quota" in done.stderr) == bool(code)
        assert ("prefill" in done.stderr) != bool(code)  # refused before anything is read
        assert len(listed(here)) == 1 - code

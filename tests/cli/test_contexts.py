"""What is read once is kept: asked again it is taken from disk, by content or by name.

Through the real entry point, with a tiny model of random weights whose tokens are bytes.
"""

from __future__ import annotations

import errno
import json
import shutil
import stat
from pathlib import Path

import pytest

from runtime.contexts import files, manifest
from tests.tiny_model import write_model

TEXT = "".join(f"Line {n} of the notes, and what it says.\n" for n in range(1, 60))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp("models") / "tiny", context=6000))


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "cache" / "jamba" / "contexts"


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def ask(here, model):
    """The JSON result of a question; `ask(..., said=[...])` also gives what stood on stderr."""

    def run(*argv: str, command: str = "ask", said: list[str] | None = None, **environ: str):
        done = here(command, *argv, "-m", model, "--max-tokens", "12", "--json", **environ)
        assert done.returncode == 0, done.stderr
        if said is not None:
            said += done.stderr.splitlines()
        return json.loads(done.stdout)

    return run


def listed(here) -> list[dict]:
    return json.loads(here("contexts", "--json").stdout)["contexts"]


# By content


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
        assert len(listed(here)) == 1 - code


# By name


@pytest.fixture
def ingested(here, model, notes):
    done = here("ingest", "notes.txt", "--name", "notes", "-m", model)
    assert done.returncode == 0, done.stderr
    return done


def test_ingest_reads_ahead_of_time_and_says_what_it_kept(ingested, here, ask, store):
    assert ingested.stdout.startswith("@notes: ")
    assert " tokens, " in ingested.stdout
    assert "prefill:" in ingested.stderr
    assert "decode" not in ingested.stderr
    assert 'jamba ask @notes "QUESTION"' in ingested.stderr
    [context] = listed(here)
    assert context["names"] == ["notes"]
    assert context["complete"]
    assert ask("notes.txt", "what?")["tokens"]["reused"] == context["tokens"]
    for path in [store, *store.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_named_context_is_asked_without_its_sources(ingested, here, ask, notes):
    wanted = ask("notes.txt", "what?")
    notes.unlink()
    [context] = listed(here)
    for ref in ("@notes", f"@{context['id'][:6]}"):
        result = ask(ref, "what?")
        assert result["answer"] == wanted["answer"]
        assert result["references"] == wanted["references"]
        assert result["tokens"] == wanted["tokens"]
    summary = ask("@notes", command="summarize")
    assert summary["tokens"]["reused"] == context["tokens"]


def test_a_named_context_brings_its_model(ingested, here):
    done = here("ask", "@notes", "what?", "--json", "--max-tokens", "3")  # no -m
    assert json.loads(done.stdout)["tokens"]["reused"] > len(TEXT)


def test_a_named_context_can_be_read_by_another_model(ingested, here, notes, tmp_path):
    other = str(write_model(tmp_path / "other", context=6000, style="quote"))
    notes.unlink()
    done = here("ask", "@notes", "what?", "--json", "--max-tokens", "3", "-m", other)
    result = json.loads(done.stdout)
    assert result["model"] == other
    assert result["tokens"]["reused"] == 0
    assert result["tokens"]["input"] > len(TEXT)


def test_the_windows_of_a_named_context_are_the_same(here, ask, model, tmp_path):
    (tmp_path / "r").mkdir()
    for name in ("a.py", "b.py", "c.py"):
        (tmp_path / "r" / name).write_text("".join(f"{name} = {n}\n" for n in range(400)))
    done = here("ingest", "r", "--name", "r", "-m", model, "--json")
    kept = json.loads(done.stdout)
    assert kept["windows"] >= 3
    assert kept["tokens"]["input"] > 9000
    wanted = ask("r", "what?")
    shutil.rmtree(tmp_path / "r")
    result = ask("@r", "what?")
    assert result["context"]["ids"] == wanted["context"]["ids"] == kept["context"]["ids"]
    assert result["answer"] == wanted["answer"]
    assert result["tokens"]["document"] == wanted["tokens"]["document"]


def test_a_name_that_is_not_there_is_one_line_with_the_names(ingested, here, tmp_path):
    done = here("ask", "@note", "what?")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[0].startswith("error:")
    assert "@notes" in done.stderr.splitlines()[1]
    (tmp_path / "@x").write_text("a file")
    done = here("ask", "@x", "what?")
    assert "./@x" in done.stderr


def test_a_file_with_an_at_sign_is_read_by_its_path(ask, tmp_path):
    (tmp_path / "@notes").write_text(TEXT)
    assert ask("./@notes", "what?")["tokens"]["input"] > len(TEXT)


@pytest.mark.parametrize(
    "argv",
    [
        ["ask", "@notes", "notes.txt", "what?"],
        ["ask", "@notes", "what?", "--pages", "1"],
        ["ask", "@notes"],
        ["ingest", "notes.txt", "--name", "a/b"],
        ["ingest", "notes.txt", "--update", "@notes"],
        ["ingest", "--update", "@notes", "--exclude", "*.md"],
        ["chat"],
        ["chat", "-"],
        ["contexts", "rm"],
        ["contexts", "rm", "@notes", "--all"],
    ],
)
def test_contradictions_are_usage_errors(ingested, here, argv):
    done = here(*argv)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "hint:" in done.stderr


def test_standard_input_can_be_ingested_but_not_updated(jamba, model):
    done = jamba("ingest", "-", "--name", "in", "-m", model, stdin=TEXT)
    assert done.returncode == 0, done.stderr
    asked = jamba("ask", "@in", "what?", "--max-tokens", "3")
    assert asked.returncode == 0, asked.stderr
    again = jamba("ingest", "--update", "@in")
    assert again.returncode == 2
    assert "standard input" in again.stderr


# Reading again


def test_update_reads_the_sources_again_from_where_they_were(here, ask, model, tmp_path, store):
    folder = tmp_path / "work" / "r"
    folder.mkdir(parents=True)
    for name in "abc":
        (folder / f"{name}.txt").write_text(f"{name} " * 600 + "\n")
    (folder / "left.md").write_text("left out\n")
    ingest = ["ingest", str(folder), "--exclude", "*.md", "--name", "r", "-m", model]
    assert here(*ingest).returncode == 0
    [old] = listed(here)
    (folder / "c.txt").write_text("c " * 400 + "changed\n")
    done = here("ingest", "--update", "@r")
    assert done.returncode == 0, done.stderr
    assert "(checkpoint at c.txt), computed" in done.stderr
    [new] = listed(here)  # the one it replaces is gone
    assert new["id"] != old["id"]
    assert new["names"] == ["r"]
    assert [one["path"] for one in new["sources"]] == ["a.txt", "b.txt", "c.txt"]
    assert json.loads(here("contexts", "verify", "--json").stdout)["contexts"] == [
        {"id": new["id"], "problems": []}
    ]
    again = here("ingest", "--update", "@r", "--json")
    assert json.loads(again.stdout)["context"]["computed"] == 0
    assert [one["id"] for one in listed(here)] == [new["id"]]
    shutil.rmtree(tmp_path / "work")
    assert here("ingest", "--update", "@r").returncode == 3
    assert ask("@r", "what?")["tokens"]["reused"] == new["tokens"]


def test_a_name_moves_and_leaves_what_another_name_stands_for(here, model, notes, tmp_path):
    (tmp_path / "b.txt").write_text("other " * 200)
    here("ingest", "notes.txt", "--name", "one", "-m", model)
    here("ingest", "notes.txt", "--name", "two", "-m", model)
    [context] = listed(here)
    assert sorted(context["names"]) == ["one", "two"]
    here("ingest", "b.txt", "--name", "one", "-m", model)
    names = json.loads(here("contexts", "--json").stdout)["names"]
    assert names["two"] == [context["id"]]
    assert names["one"] != [context["id"]]
    here("contexts", "rm", "@two")
    assert len(listed(here)) == 1


# Looking after them


def test_the_list_shows_size_name_age_model_and_source(ingested, here):
    done = here("contexts", "list")
    header, row = done.stdout.splitlines()
    assert header.split() == ["id", "name", "tokens", "on", "disk", "used", "model", "sources"]
    [context] = listed(here)
    assert row.split()[:2] == [context["id"], "@notes"]
    assert "just now" in row
    assert row.endswith("tiny   notes.txt")


def test_show_says_where_it_comes_from(ingested, here, tmp_path):
    done = here("contexts", "show", "@notes")
    assert str(tmp_path) in done.stdout
    assert "complete" in done.stdout
    assert "notes.txt" in done.stdout
    shown = json.loads(here("contexts", "show", "@notes", "--json").stdout)
    [source] = shown["contexts"][0]["sources"]
    first, end = source["tokens"]
    assert 0 < first < end == shown["contexts"][0]["tokens"]


def test_rm_says_what_it_freed(ingested, here, store):
    before = sum(path.stat().st_size for path in store.rglob("*.safetensors"))
    done = here("contexts", "rm", "@notes", "--json")
    result = json.loads(done.stdout)
    assert result["bytes_freed"] >= before
    assert result["names"] == ["notes"]
    assert listed(here) == []
    assert here("contexts", "rm", "@notes").returncode == 1
    assert here("contexts", "list").stdout == ""


def test_rm_all_and_by_id(here, model, notes, tmp_path):
    (tmp_path / "b.txt").write_text("other " * 300)
    for name in ("notes.txt", "b.txt"):
        here("ask", name, "what?", "-m", model, "--max-tokens", "3")
    first, second = listed(here)
    done = here("contexts", "rm", first["id"][:8])
    assert done.stdout.startswith("1 context removed, ")
    assert [one["id"] for one in listed(here)] == [second["id"]]
    assert here("contexts", "rm", "--all").returncode == 0
    assert listed(here) == []


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def test_verify_finds_one_flipped_bit_and_its_hint_removes_what_is_broken(
    ingested, here, ask, store, tmp_path
):
    (tmp_path / "b.txt").write_text("other " * 300)
    ask("b.txt", "what?")
    assert here("contexts", "verify").stdout.count("sound\n") == 2
    [broken] = [one["id"] for one in listed(here) if one["names"]]
    flip_a_bit(max(store.glob(f"{broken}/*.safetensors")))
    for ref in ("@notes", broken):
        done = here("contexts", "verify", ref)
        assert done.returncode == 1
        assert "checksum" in done.stdout
    command = done.stderr.splitlines()[-1].partition("to remove: jamba ")[2]
    assert here(*command.split()).returncode == 0
    left = here("contexts", "verify")
    assert left.returncode == 0
    assert left.stdout.count("sound\n") == 1


def test_a_context_of_another_version_is_left_until_rm_and_said_only_where_it_matters(
    ingested, here, ask, tmp_path, monkeypatch
):
    [context] = listed(here)
    monkeypatch.setattr(manifest, "FORMAT", "jamba-context-2")
    (tmp_path / "b.txt").write_text("other " * 300)
    unrelated, same = (ask(one, "what?", "--no-save") for one in ("b.txt", "notes.txt"))
    assert not any("saved context" in one for one in unrelated["warnings"])
    said = f"saved context {context['id']} is of another version of jamba"
    assert any(one.startswith(said) for one in same["warnings"])
    assert "of another version of jamba" in here("contexts", "list").stdout
    verified = here("contexts", "verify")
    assert verified.returncode == 0
    assert "of another version of jamba (format 'jamba-context-1'" in verified.stdout
    collected = here("contexts", "gc")
    assert collected.stdout == "0 B freed\n"
    for done in (verified, collected):
        command = done.stderr.splitlines()[-1].partition("to remove: jamba ")[2]
        assert command.split() == ["contexts", "rm", context["id"]]
    assert here(*command.split()).returncode == 0
    assert listed(here) == []


def test_gc_removes_what_is_broken_at_first_sight(ingested, here, store):
    segment = max(store.glob("*/*.safetensors"))
    segment.write_bytes(segment.read_bytes()[:-20])
    assert "bytes instead of" in here("contexts", "list").stdout
    collected = here("contexts", "gc")
    assert collected.returncode == 0
    assert collected.stdout.splitlines()[-1].endswith("freed")
    assert listed(here) == []


def test_path_is_where_the_contexts_are(here, store, tmp_path):
    assert here("contexts", "path").stdout == f"{store}\n"
    elsewhere = here("contexts", "path", JAMBA_CONTEXTS=str(tmp_path / "x"))
    assert elsewhere.stdout == f"{tmp_path / 'x'}\n"

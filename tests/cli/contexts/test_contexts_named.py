"""What is ingested under a name is asked by it, and read again where its sources changed.

Through the real entry point, with a tiny model of random weights whose tokens are bytes.
"""

from __future__ import annotations

import json
import shutil
import stat

import pytest

from tests.tiny_model import TEXT, write_model


def listed(here) -> list[dict]:
    return json.loads(here("contexts", "--json").stdout)["contexts"]


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

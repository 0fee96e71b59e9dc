"""Listing, removing and checking what is kept.

Through the real entry point, with a tiny model of random weights whose tokens are bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

from runtime.contexts import locks, manifest


def listed(here) -> list[dict]:
    return json.loads(here("contexts", "--json").stdout)["contexts"]


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


def test_rm_removes_nothing_while_a_part_of_it_is_written(ingested, here, ask, store, tmp_path):
    (tmp_path / "b.txt").write_text("other " * 300)
    [busy] = ask("b.txt", "what?")["context"]["ids"]
    with locks.locked(store / "locks" / f"{busy}.lock"):
        done = here("contexts", "rm", "--all")
    assert done.returncode == 1
    assert f"saved context {busy} is being written by another process" in done.stderr
    assert [one["names"] for one in listed(here)] == [[], ["notes"]]


def test_rm_all_removes_what_a_crash_left_of_a_document(ingested, here, store):
    [context] = listed(here)
    (store / context["id"] / "context.json").unlink()  # it is written after the document
    assert (store / context["id"] / "document.json").exists()
    assert here("contexts", "rm", "--all").returncode == 0
    assert list(store.rglob("*.json")) == []


def test_gc_says_which_names_the_quota_takes(ingested, here):
    [context] = listed(here)
    done = here("contexts", "gc", JAMBA_CONTEXT_QUOTA="1k")
    assert done.stdout.splitlines()[0] == f"{context['id']} (@notes): over the quota"


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
    assert collected.stdout.startswith("0 B freed; 1 context kept, ")
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
    assert "bytes instead of" in collected.stdout.splitlines()[0]
    assert " freed; 0 contexts kept, 0 B of " in collected.stdout.splitlines()[-1]
    assert listed(here) == []


def test_path_is_where_the_contexts_are(here, store, tmp_path):
    assert here("contexts", "path").stdout == f"{store}\n"
    elsewhere = here("contexts", "path", JAMBA_CONTEXTS=str(tmp_path / "x"))
    assert elsewhere.stdout == f"{tmp_path / 'x'}\n"

"""A prompt finds the longest of its prefixes that is stored, and only the rest is computed."""

from __future__ import annotations

import shutil
from dataclasses import replace

import torch

from runtime.contexts import Mark, identify, identity
from tests.runtime.contexts.reading import read, uninterrupted

TAIL = [9, 9, 8, 7, 6, 5, 4, 3, 2, 1]


def ends(context):
    return [segment.end for segment in context.segments]


def test_of_several_contexts_the_longest_prefix_is_taken(engine, ids, store):
    read(engine, [*ids[:60], *TAIL], store)
    read(engine, [*ids[:100], *TAIL], store)
    read(engine, [*ids[:80], *TAIL], store)
    wanted = [*ids[:120], *TAIL, 1]
    match = store.longest(identify(engine), wanted)
    assert match is not None
    assert 80 < match.tokens <= 100
    got, _ = read(engine, wanted, store)
    assert got.reused == match.tokens
    assert got.computed == len(wanted) - match.tokens


def test_a_changed_tail_costs_the_tokens_after_the_last_checkpoint_before_it(engine, ids, store):
    marks = [Mark(40, "a.py"), Mark(90, "b.py"), Mark(120, "c.py")]
    read(engine, ids, store, marks=marks)
    stops = ends(store.contexts()[0])
    for changed_at in (41, 90, 95, 125, 149):
        prompt = [*ids[:changed_at], ids[changed_at] ^ 1, *ids[changed_at + 1 :]]
        got, _ = read(engine, prompt, store, marks=marks, save=False)
        assert got.reused == max(stop for stop in stops if stop <= changed_at)
        assert got.checkpoint == {90: "b.py"}.get(got.reused, got.checkpoint)
        logits, _ = uninterrupted(engine, prompt, stops)
        assert torch.equal(got.logits, logits)


def test_a_document_that_grew_goes_on_from_its_end(engine, ids, store):
    read(engine, ids[:100], store)
    grown, _ = read(engine, ids, store)
    assert grown.reused == 100
    again, _ = read(engine, ids, store)
    assert again.reused == 150
    assert not any(store.verify(context) for context in store.contexts())


def test_a_document_that_was_cut_short_still_gets_its_logits(engine, ids, store):
    """At a checkpoint in the middle there are no logits: something must be computed."""
    read(engine, ids, store)
    middle = ends(store.contexts()[0])[2]
    cut, _ = read(engine, ids[:middle], store, save=False)
    assert 0 < cut.reused < middle
    logits, _ = uninterrupted(engine, ids[:middle], ends(store.contexts()[0]))
    assert torch.equal(cut.logits, logits)


def test_shared_segments_are_one_file_and_the_rest_is_new(engine, ids, store):
    read(engine, ids, store)
    read(engine, [*ids[:100], *TAIL], store)
    newer, older = store.contexts()
    shared = {each.file for each in newer.segments} & {each.file for each in older.segments}
    linked = [f for f in shared if (newer.path / f).samefile(older.path / f)]
    assert len(linked) == 3
    assert all((newer.path / file).stat().st_nlink == 2 for file in linked)
    assert store.remove(older.id) < older.nbytes
    assert store.verify(newer) == []
    assert read(engine, [*ids[:100], *TAIL], store)[0].computed == 0


def test_where_links_are_not_possible_segments_are_copied(engine, ids, store, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    read(engine, ids, store)
    read(engine, [*ids[:100], *TAIL], store)
    newer = store.contexts()[0]
    assert store.verify(newer) == []
    assert all((newer.path / each.file).stat().st_nlink == 1 for each in newer.segments)
    assert all((newer.path / s.file).stat().st_mode & 0o777 == 0o600 for s in newer.segments)


def test_the_same_tokens_of_another_model_are_not_used_and_that_is_said(
    engine, ids, store, monkeypatch
):
    read(engine, ids, store)
    monkeypatch.setattr(identity, "NUMERICS_VERSION", identity.NUMERICS_VERSION + 1)
    got, _ = read(engine, ids, store)
    assert got.reused == 0
    (note,) = got.notes
    assert "has 150 of these tokens but another numerics: not used" in note
    monkeypatch.undo()
    own = identify(engine)
    for other in (
        replace(own, model="0" * 64),
        replace(own, scheme="int8"),
        replace(own, tokenizer="0" * 64),
    ):
        assert store.longest(other, ids) is None
        (differing,) = own.differences(other)
        assert differing in store.lookup(other, ids).notes[0]


def test_short_prompts_and_those_not_to_be_saved_leave_nothing(engine, ids, store):
    for options in ({"min_tokens": 151}, {"save": False}):
        got, _ = read(engine, ids, store, **options)
        assert got.context_id is None
        assert got.notes == ()
        assert not store.root.exists()


def test_what_is_not_to_be_saved_still_uses_what_is(engine, ids, store):
    saved, _ = read(engine, ids, store)
    got, _ = read(engine, ids, store, save=False)
    assert (got.reused, got.context_id) == (150, saved.context_id)


def test_info_and_attachments_are_those_of_the_last_run(engine, ids, store):
    read(engine, ids, store, info={"n": 1}, attachments={"document.json": b"one"})
    (context,) = store.contexts()
    assert context.info == {"n": 1}
    assert store.attachment(context, "document.json") == b"one"
    read(engine, ids, store)
    assert store.contexts()[0].info == {"n": 1}
    read(engine, ids, store, info={"n": 2}, attachments={"document.json": b"two!"})
    (context,) = store.contexts()
    assert context.info == {"n": 2}
    assert store.attachment(context, "document.json") == b"two!"
    assert store.verify(context) == []


def test_a_folder_of_another_writer_is_no_context(engine, ids, store):
    read(engine, ids, store)
    (context,) = store.contexts()
    copy = store.root / ("f" * 16)
    shutil.copytree(context.path, copy)
    (copy / "context.json").unlink()
    (store.root / "notes.txt").write_text("mine")
    assert [each.id for each in store.contexts()] == [context.id]

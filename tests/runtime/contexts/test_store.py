"""The folder of contexts: listing, names, quota, clean-up, permissions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runtime.contexts import ContextStore, Mark, locks, planned, upkeep
from runtime.errors import JambaError, UsageError
from tests.runtime.contexts.reading import CHUNK, read


def prompts(ids, count):
    return [[number, *ids[:80]] for number in range(count)]


def age(context, seconds):
    """Lets a context have been used so long ago."""
    path = context.path / "context.json"
    status = path.stat()
    os.utime(path, (status.st_atime, status.st_mtime - seconds))


def test_an_empty_folder_and_none_at_all(store):
    for _ in range(2):
        assert store.contexts() == []
        assert store.names() == []
        assert store.collect().removed == ()
        store.root.mkdir(exist_ok=True)


def test_listing_needs_no_torch():
    code = (
        "import sys, pathlib; from runtime.contexts import ContextStore\n"
        "store = ContextStore(pathlib.Path('/nowhere')); store.contexts(); store.names()\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_contexts_are_listed_by_last_use_with_what_is_known_of_them(engine, ids, store):
    saved = [read(engine, prompt, store, info={"n": n})[0].context_id
             for n, prompt in enumerate(prompts(ids, 3))]  # fmt: skip
    for seconds, context_id in enumerate(reversed(saved)):
        age(store.get(context_id), 10 * (seconds + 1))
    read(engine, prompts(ids, 3)[0], store)  # uses the oldest
    listed = store.contexts()
    assert [context.id for context in listed] == [saved[0], saved[2], saved[1]]
    assert [context.info for context in listed] == [{"n": 0}, {"n": 2}, {"n": 1}]
    first = listed[0]
    assert (first.tokens, first.saved_tokens, first.complete) == (81, 81, True)
    assert first.nbytes == sum(path.stat().st_size for path in first.path.iterdir())
    assert first.problem == ""
    assert first.created <= first.used + 1


def test_a_context_is_got_by_the_beginning_of_its_id(engine, ids, store):
    saved = {read(engine, prompt, store)[0].context_id for prompt in prompts(ids, 20)}
    one = sorted(saved)[0]
    assert store.get(one[:12]).id == one
    with pytest.raises(JambaError, match="no saved context has the id 'xyz'"):
        store.get("xyz")
    with pytest.raises(JambaError, match="no saved context"):
        store.get("")
    initials = [context_id[0] for context_id in saved]
    twice = next(each for each in initials if initials.count(each) > 1)
    with pytest.raises(JambaError, match=f"saved contexts begin with '{twice}'"):
        store.get(twice)


def test_names_stand_for_contexts(engine, ids, store):
    saved = read(engine, ids, store)[0].context_id
    store.set_name("repo", [saved], {"sources": ["a", "b"]})
    store.set_name("paper", [saved, "f" * 16], {})
    assert [each.name for each in store.names()] == ["paper", "repo"]
    assert store.named("repo").ids == (saved,)
    assert store.named("repo").info == {"sources": ["a", "b"]}
    assert store.contexts()[0].names == ("paper", "repo")
    store.set_name("repo", [], {"new": True})
    assert store.named("repo").ids == ()
    store.remove_name("repo")
    with pytest.raises(JambaError) as caught:
        store.named("rep")
    assert caught.value.hint == "names: @paper"
    with pytest.raises(JambaError) as caught:
        store.remove_name("papers")
    assert caught.value.hint == "did you mean @paper? names: @paper"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 65, "ü"])
def test_what_can_not_be_a_name(store, name):
    with pytest.raises(UsageError, match="can't be a context's name"):
        store.set_name(name, [], {})
    with pytest.raises(UsageError, match="can't be a context's name"):
        store.named(name)


def test_a_damaged_name_is_no_name(store):
    store.set_name("repo", ["0" * 16], {})
    path = store.root / "names" / "repo.json"
    path.write_bytes(path.read_bytes().replace(b"0000", b"0001", 1))
    with pytest.raises(JambaError, match="the name 'repo' is damaged"):
        store.named("repo")
    assert store.names() == []
    store.set_name("other", [], {})
    path.write_bytes((store.root / "names" / "other.json").read_bytes())
    with pytest.raises(JambaError, match="another name's file"):
        store.named("repo")
    store.remove_name("repo")
    assert not path.exists()


def test_only_the_owner_can_read(engine, ids, store):
    old = os.umask(0)
    try:
        read(engine, ids, store, attachments={"document.json": b"secret"})
        store.set_name("n", [], {})
    finally:
        os.umask(old)
    for path in [store.root, *store.root.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_over_the_quota_the_least_recently_used_go_and_the_named_ones_last(engine, ids, store):
    saved = [read(engine, prompt, store)[0].context_id for prompt in prompts(ids, 4)]
    one = store.get(saved[0]).nbytes
    for number, context_id in enumerate(saved):
        age(store.get(context_id), 100 - 10 * number)
    store.set_name("keep", [saved[0]], {})
    tight = ContextStore(store.root, quota_bytes=int(3.5 * one))
    got, _ = read(engine, [9, *ids[:80]], tight)
    [note], new = got.notes, got.context_id
    assert "removed 2 saved contexts" in note
    assert note.endswith(f" MB: {saved[1]}, {saved[2]}")
    left = {context.id for context in store.contexts()}
    assert left == {saved[0], saved[3], new}
    tighter = ContextStore(store.root, quota_bytes=int(1.5 * one))
    gone = tighter.collect()
    assert {context.id for context in store.contexts()} == {saved[0]}
    assert [line.split(": ")[1] for line in gone.removed] == ["over the quota"] * 2
    assert 1.8 * one < gone.nbytes < 2.2 * one
    ContextStore(store.root, quota_bytes=10).collect()
    assert store.contexts() == []


def test_shared_files_count_once_for_the_quota(engine, ids, store):
    read(engine, ids, store)
    one = store.contexts()[0].nbytes
    close = ContextStore(store.root, quota_bytes=int(2.2 * one))
    for tail in range(3):
        read(engine, [*ids[:140], tail, tail], close)
    assert len(close.contexts()) == 4
    assert sum(context.nbytes for context in close.contexts()) > 3 * one


def test_a_context_larger_than_the_quota_is_not_written(engine, ids, store):
    other = read(engine, [7, *ids[:20]], store)[0].context_id
    small = ContextStore(store.root, quota_bytes=30_000)
    got, _ = read(engine, ids, small)
    assert got.context_id is None
    assert "more than the quota for saved contexts" in got.notes[0]
    assert [context.id for context in store.contexts()] == [other]


ATTACHED = {"info": {"sources": ["ä", "b"] * 9}, "attachments": {"document.json": b"x" * 5_000}}


@pytest.fixture
def asked_for(monkeypatch):
    """What room was asked for, in bytes, once for each context that was begun."""
    asked: list[int] = []
    real = upkeep.make_room

    def make_room(store, nbytes, keep, **more):
        asked.append(nbytes)
        return real(store, nbytes, keep, **more)

    monkeypatch.setattr(upkeep, "make_room", make_room)
    return asked


def test_the_room_that_is_asked_for_is_what_is_taken(engine, ids, store, asked_for):
    """Manifest and attachments too; a first part that is there already, or linked, is not."""

    def stop(done, _total, _cache):
        if done >= 70:
            raise InterruptedError

    def grows_as_asked(prompt, **options):
        before = upkeep.used_bytes(store.contexts())
        got, _ = read(engine, prompt, store, **ATTACHED, **options)
        assert got.notes == () or "checksum" in got.notes[0]
        assert upkeep.used_bytes(store.contexts()) - before == asked_for[-1]
        return store.get(got.context_id)

    whole = grows_as_asked(ids, marks=[Mark(64, "b.txt")])
    grows_as_asked([*ids[:100], 1, 2])
    with pytest.raises(InterruptedError):
        read(engine, ids[::-1], store, on_chunk=stop)
    grows_as_asked(ids[::-1])
    first = whole.path / whole.segments[0].file
    first.write_bytes(bytes(whole.segments[0].nbytes))
    grows_as_asked(ids)  # anew, in place of what is damaged
    assert len(asked_for) == 5


def test_a_quota_is_enough_to_the_byte(engine, ids, tmp_path):
    read(engine, ids, ContextStore(tmp_path / "any"), **ATTACHED)
    nbytes = upkeep.used_bytes(ContextStore(tmp_path / "any").contexts())
    exact = ContextStore(tmp_path / "exact", quota_bytes=nbytes)
    assert read(engine, ids, exact, **ATTACHED)[0].notes == ()
    assert exact.collect().removed == ()
    below = ContextStore(tmp_path / "below", quota_bytes=nbytes - 1)
    assert "more than the quota" in read(engine, ids, below, **ATTACHED)[0].notes[0]
    assert below.contexts() == []


def test_what_a_context_goes_on_from_counts_for_the_quota(engine, ids, store):
    """And nothing is removed in vain: the first part can't go, so there is no room."""
    other = read(engine, [7, *ids[:20]], store)[0].context_id
    half = read(engine, ids[:96], store)[0].context_id
    close = ContextStore(store.root, quota_bytes=int(1.2 * store.get(half).nbytes))
    got, _ = read(engine, ids, close)
    assert (got.reused, got.context_id) == (96, None)
    assert "more than the quota for saved contexts" in got.notes[0]
    assert {context.id for context in store.contexts()} == {half, other}


def test_what_is_to_be_kept_is_never_removed_to_make_room(engine, ids, store):
    first, second, third = prompts(ids, 3)
    kept = read(engine, first, store)[0].context_id
    other = read(engine, second, store)[0].context_id
    age(store.get(kept), 100)
    one = store.get(kept).nbytes
    tight = ContextStore(store.root, quota_bytes=int(2.2 * one))
    got = read(engine, third, tight, keep=[kept, "f" * 16])[0]
    assert {context.id for context in store.contexts()} == {kept, got.context_id}
    tighter = ContextStore(store.root, quota_bytes=int(1.5 * one))
    refused = read(engine, second, tighter, keep=[kept])[0]
    assert refused.context_id is None
    assert refused.notes == (
        "not saved: the quota for saved contexts has no room beside what this run uses",
    )
    assert {context.id for context in store.contexts()} == {kept, got.context_id}
    assert read(engine, second, tighter)[0].context_id == other


def test_what_a_prompt_will_take_is_known_before(engine, ids, store):
    marks = [Mark(40, "a"), Mark(90, "b")]
    plan = planned(engine, ids, marks=marks, chunk_tokens=CHUNK, **ATTACHED)
    saved = read(engine, ids, store, marks=marks, **ATTACHED)[0].context_id
    assert (plan.id, plan.nbytes) == (saved, store.get(saved).nbytes)


def test_clean_up_takes_leftovers_and_nothing_else(engine, ids, store):
    sound = read(engine, ids, store)[0].context_id
    broken = read(engine, [3, *ids[:90]], store)[0].context_id
    segment = store.get(broken).segments[1]
    (store.root / broken / segment.file).write_bytes(b"short")
    (store.root / sound / ".x.safetensors.12.34.partial").write_bytes(b"1234")
    (store.root / ("0" * 16)).mkdir()
    (store.root / ("0" * 16) / "00000000-00000009.safetensors").write_bytes(b"123")
    (store.root / "names").mkdir(exist_ok=True)
    (store.root / "names" / ".x.json.1.2.partial").write_bytes(b"12")
    store.lock_path("0" * 16).touch()
    store.lock_path("1" * 16).touch()
    result = store.collect()
    assert list((store.root / "locks").iterdir()) == []
    assert sorted(line.split(": ", 1)[1] for line in result.removed) == [
        f"{segment.file} has 5 bytes instead of {segment.nbytes:,}",
        "a file that was not finished",
        "a file that was not finished",
        "unfinished",
    ]
    assert result.nbytes > 4 + 3 + 2 + 5
    assert [context.id for context in store.contexts()] == [sound]
    assert store.verify(store.contexts()[0]) == []
    assert store.collect().removed == ()


def test_an_unfinished_context_goes_when_another_has_all_of_it(engine, ids, store):
    def stop(done, _total, _cache):
        if done >= 70:
            raise InterruptedError

    for prompt in ([*ids[:100], 1], [*ids[:40], 9, *ids[40:100]]):
        with pytest.raises(InterruptedError):
            read(engine, prompt, store, on_chunk=stop)
    assert store.collect().removed == ()
    read(engine, ids, store)
    assert [line.split(": ")[1] for line in store.collect().removed] == [
        "unfinished, and another context has all of it"
    ]
    assert len(store.contexts()) == 2


def test_what_is_being_written_is_left_alone(engine, ids, store):
    saved = read(engine, ids, store)[0].context_id
    with locks.locked(store.lock_path(saved)):
        with pytest.raises(JambaError, match="is being written by another process"):
            store.remove(saved)
        assert ContextStore(store.root, quota_bytes=0).collect().removed == ()
    assert store.remove(saved[:10]) > 0
    assert store.contexts() == []
    assert not (store.root / saved).exists()


def test_removal_in_the_middle_of_use_is_only_a_miss(engine, ids, store):
    saved = read(engine, ids[:100], store)[0].context_id

    def remove(done, _total, _cache):
        if saved in {context.id for context in store.contexts()}:
            store.remove(saved)

    got, _ = read(engine, ids, store, on_chunk=remove)
    assert got.reused == 100
    assert store.verify(store.contexts()[0]) == []
    assert read(engine, ids, store)[0].computed == 0


@pytest.mark.parametrize("gone", [False, True])
def test_a_text_that_another_begins_with_leaves_the_other_as_it_is(engine, ids, store, gone):
    short = {"info": {"of": "short"}, "attachments": {"document.json": b"short"}}
    long = {"info": {"of": "long"}, "attachments": {"document.json": b"long"}}
    first, _ = read(engine, ids[:100], store, **short)
    second, _ = read(engine, ids, store, **long)
    assert second.reused == 100
    if gone:
        store.remove(first.context_id)
    again, _ = read(engine, ids[:100], store, **short)
    assert (again.reused, again.context_id) == (100, first.context_id)
    assert again.logits.equal(first.logits)
    for got, described in ((again, short), (second, long)):
        context = store.get(got.context_id)
        assert context.complete
        assert context.info == described["info"]
        kept = described["attachments"]["document.json"]
        assert (context.path / "document.json").read_bytes() == kept
        assert store.verify(context) == []

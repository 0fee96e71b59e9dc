"""Work that is cut off is kept up to its last checkpoint; two who read the same never collide."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import ExitStack

import pytest
import torch

from runtime.contexts import ContextStore, files, locks, upkeep, writer
from tests.runtime.contexts.reading import read


class Interrupt(BaseException):
    """As KeyboardInterrupt, which would end the test run if it escaped."""


def interrupt_at(position):
    def on_chunk(done, _total, _cache):
        if done >= position:
            raise Interrupt

    return on_chunk


def test_an_interrupted_run_leaves_its_checkpoints_and_the_next_goes_on(engine, ids, store):
    whole, _ = read(engine, ids, ContextStore(store.root / "other"))
    with pytest.raises(Interrupt):
        read(engine, ids, store, on_chunk=interrupt_at(100))
    (context,) = store.contexts()
    assert (context.complete, context.tokens, context.saved_tokens) == (False, 150, 96)
    assert store.verify(context) == []
    again, _ = read(engine, ids, store)
    assert (again.reused, again.computed, again.notes) == (96, 54, ())
    assert torch.equal(again.logits, whole.logits)
    (context,) = store.contexts()
    assert context.complete
    assert context.id == again.context_id
    assert store.verify(context) == []


def test_an_unfinished_context_serves_other_documents_too(engine, ids, store):
    with pytest.raises(Interrupt):
        read(engine, ids, store, on_chunk=interrupt_at(100))
    other, _ = read(engine, [*ids[:90], 1, 2, 3], store)
    assert other.reused == 64
    assert len(store.contexts()) == 2


def test_interrupted_before_the_first_checkpoint_there_is_nothing(engine, ids, store):
    with pytest.raises(Interrupt):
        read(engine, ids, store, on_chunk=interrupt_at(1))
    assert store.contexts() == []
    assert [path.name for path in store.root.iterdir()] == ["locks"]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_signal_waits_for_a_slow_disk_only_for_a_moment(engine, ids, store, monkeypatch, call):
    """And what is finished later is not believed: the cache may hold something else by then."""
    slow = threading.Event()
    real = getattr(os, call)

    def wait_first(*arguments):
        if threading.current_thread() is not threading.main_thread():
            slow.wait(20)
        return real(*arguments)

    monkeypatch.setattr(writer, "GRACE_S", 0.2)
    monkeypatch.setattr(files.os, call, wait_first)
    started = time.monotonic()
    with pytest.raises(Interrupt):
        read(engine, ids, store, on_chunk=interrupt_at(60))
    assert time.monotonic() - started < 10
    (context,) = store.contexts()
    lock = store.lock_path(context.id)
    assert lock.exists()  # nobody else may write while that thread may
    slow.set()
    for _ in range(100):
        if not lock.exists():
            break
        time.sleep(0.05)
    assert not lock.exists()
    (context,) = store.contexts()
    assert context.saved_tokens == 0
    assert [path.name for path in context.path.iterdir()] == ["context.json"]
    assert store.collect().removed == (f"{context.id}: unfinished",)
    monkeypatch.undo()
    assert read(engine, ids, store)[0].computed == 150


def disk_of(nbytes):
    """os.write on a disk that is full after so many bytes."""
    real, left = os.write, [nbytes]

    def write(fd, data):
        left[0] -= len(data)
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    return write


@pytest.mark.parametrize("nbytes", [0, 2_000, 30_000, 60_000, 90_000])
def test_a_full_disk_ends_the_saving_and_not_the_run(engine, ids, store, monkeypatch, nbytes):
    whole, _ = read(engine, ids, ContextStore(store.root.with_name("other")))
    monkeypatch.setattr(files.os, "write", disk_of(nbytes))
    got, _ = read(engine, ids, store)
    assert torch.equal(got.logits, whole.logits)
    assert got.context_id is None
    (note,) = got.notes
    assert "No space left on device" in note
    contexts = store.contexts()
    assert all(store.verify(context) == [] for context in contexts)
    assert not list(store.root.glob("**/*.partial"))
    monkeypatch.undo()
    saved = contexts[0].saved_tokens if contexts else 0
    assert f"after {saved:,} of 150 tokens" in note or saved == 0
    again, _ = read(engine, ids, store)
    assert (again.reused, again.computed) == (saved, 150 - saved)


def test_disks_of_these_sizes_fill_at_different_places(engine, ids, tmp_path, monkeypatch):
    reached = set()
    for nbytes in (0, 2_000, 30_000, 60_000, 90_000):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", disk_of(nbytes))
            store = ContextStore(tmp_path / str(nbytes))
            read(engine, ids, store)
            reached.add(max((each.saved_tokens for each in store.contexts()), default=-1))
    assert len(reached) >= 3, reached


def test_nothing_is_written_to_a_disk_that_is_nearly_full(engine, ids, store, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda _path: upkeep.RESERVE_BYTES + 10_000)
    got, _ = read(engine, ids, store)
    assert got.context_id is None
    (note,) = got.notes
    assert note.startswith("not saved: it takes 0 MB, and only 500 MB are free")
    assert note.endswith(f"at {store.root}, where 500 MB are to stay free")
    assert store.contexts() == []


def small_disk(store, free):
    """`files.free_bytes` of a disk with so many bytes free now, besides what stays free."""
    taken = upkeep.used_bytes(store.contexts())
    return lambda _path: upkeep.RESERVE_BYTES + free + taken - upkeep.used_bytes(store.contexts())


def save_four(engine, ids, store):
    """Four contexts of one size, the least recently used first, and that size."""
    saved = [read(engine, [number, *ids[:80]], store)[0].context_id for number in range(4)]
    for number, context_id in enumerate(saved):
        used = time.time() - 100 + 10 * number
        os.utime(store.get(context_id).path / "context.json", (used, used))
    return saved, store.get(saved[0]).nbytes


def test_on_a_disk_that_is_nearly_full_the_least_recently_used_go(engine, ids, store, monkeypatch):
    saved, size = save_four(engine, ids, store)
    store.set_name("kept", [saved[0]], {})
    monkeypatch.setattr(files, "free_bytes", small_disk(store, size // 2))
    got, _ = read(engine, [9, *ids[:80]], store)
    assert got.context_id is not None
    (note,) = got.notes
    assert note.startswith("the disk is nearly full: removed the saved contexts")
    assert note.endswith(f": {saved[1]}")
    assert {one.id for one in store.contexts()} == {saved[0], saved[2], saved[3], got.context_id}
    assert read(engine, [9, *ids[:80]], store)[0].notes == ()


@pytest.mark.parametrize("why", ["too little", "named", "in use"])
def test_nothing_goes_where_it_would_not_help(engine, ids, store, monkeypatch, why):
    saved, size = save_four(engine, ids, store)
    if why == "named":
        store.set_name("kept", saved, {})
    short = 20 * size if why == "too little" else size // 2
    monkeypatch.setattr(files, "free_bytes", small_disk(store, -short))
    held = [store.lock_path(one) for one in saved] if why == "in use" else []
    with ExitStack() as stack:
        for path in held:
            stack.enter_context(locks.locked(path))
        got, _ = read(engine, [9, *ids[:80]], store)
    assert got.context_id is None
    (note,) = got.notes
    assert note.startswith("not saved: it takes ")
    assert {one.id for one in store.contexts()} == set(saved)


@pytest.mark.parametrize("more", [0, 1])
def test_a_file_that_two_contexts_share_is_free_when_both_are_gone(
    engine, ids, store, monkeypatch, more
):
    newer = read(engine, ids, store)[0].context_id
    older = read(engine, [*ids[:96], 1, 2, 3, 4], store)[0].context_id
    os.utime(store.get(older).path / "context.json", (1, 1))
    sizes = [path.stat() for path in store.get(older).path.iterdir()]
    own = sum(one.st_size for one in sizes if one.st_nlink == 1)
    assert 0 < own < store.get(older).nbytes / 2
    monkeypatch.setattr(files, "free_bytes", small_disk(store, 0))
    room = upkeep.make_room(store, own + more, ())
    assert room.made
    assert room.notes[0].endswith(f": {older}, {newer}" if more else f": {older}")
    assert [one.id for one in store.contexts()] == ([] if more else [newer])


def test_what_a_prompt_goes_on_from_is_not_removed_for_it(engine, ids, store, monkeypatch):
    saved = read(engine, ids, store)[0].context_id
    monkeypatch.setattr(files, "free_bytes", small_disk(store, 0))
    got, _ = read(engine, [*ids[:140], 1, 2], store)
    assert (got.reused > 96, got.context_id) == (True, None)
    assert [one.id for one in store.contexts()] == [saved]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said_and_the_run_goes_on(engine, ids, tmp_path):
    tmp_path.chmod(0o500)
    got, _ = read(engine, ids, ContextStore(tmp_path / "contexts"))
    tmp_path.chmod(0o700)
    assert "Permission denied" in got.notes[0]
    assert got.computed == 150


def test_a_folder_that_is_a_file_is_said_and_the_run_goes_on(engine, ids, tmp_path):
    (tmp_path / "contexts").write_text("no folder")
    got, _ = read(engine, ids, ContextStore(tmp_path / "contexts"))
    assert got.notes[0].startswith("not saved: ")
    assert got.computed == 150


def test_who_reads_the_same_at_the_same_time_waits_and_uses_it(engine, ids, store):
    inside, waiting = threading.Event(), threading.Event()
    results = {}

    def hold(done, _total, _cache):
        inside.set()
        assert waiting.wait(30)

    def first():
        results["first"] = read(engine, ids, store, on_chunk=hold)[0]

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(30)
    second, _ = read(engine, ids, store, on_wait=waiting.set)
    thread.join(30)
    assert waiting.is_set()
    assert (results["first"].reused, results["first"].computed) == (0, 150)
    assert (second.reused, second.computed) == (150, 0)
    assert torch.equal(second.logits, results["first"].logits)
    assert list((store.root / "locks").iterdir()) == []


def test_whoever_waited_for_a_lock_holds_the_one_that_others_see(tmp_path):
    path = tmp_path / "one.lock"
    waiting, held, done = threading.Event(), threading.Event(), threading.Event()

    def second():
        with locks.locked(path, on_wait=waiting.set):
            held.set()
            done.wait(30)

    thread = threading.Thread(target=second)
    with locks.locked(path):
        thread.start()
        assert waiting.wait(30)
        assert not held.is_set()
    assert held.wait(30)
    with locks.try_locked(path) as free:
        assert not free
    done.set()
    thread.join(30)
    with locks.try_locked(path) as free:
        assert free


def test_who_does_not_save_does_not_wait(engine, ids, store):
    inner = []

    def on_chunk(done, _total, _cache):
        if done == 64:
            inner.append(read(engine, ids, store, save=False, on_wait=pytest.fail)[0])

    outer, _ = read(engine, ids, store, on_chunk=on_chunk)
    assert torch.equal(inner[0].logits, outer.logits)

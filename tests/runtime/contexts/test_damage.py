"""Whatever happens to a stored context, it is noticed before use and the answer stays right."""

from __future__ import annotations

import random

import pytest
import torch

from runtime.contexts import manifest
from runtime.errors import JambaError
from tests.runtime.contexts.reading import read, same_bits

FLIPS = 1_000


@pytest.fixture
def saved(engine, ids, store):
    """The logits and the cache of a whole run, and the context that it left."""
    attachments = {"document.json": b'{"parts": ["some text"]}'}
    first, cache = read(engine, ids, store, info={"a": 1}, attachments=attachments)
    return first.logits, cache, store.contexts()[0]


def flip(path, bit):
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def check(engine, ids, store, saved, **options):
    """Reads the prompt again: the bits must be those of the first run."""
    logits, oracle, _ = saved
    got, cache = read(engine, ids, store, **options)
    assert torch.equal(got.logits, logits)
    assert same_bits(cache, oracle)
    assert all("\n" not in note for note in got.notes)
    assert got.reused == len(ids) or got.notes
    return got


def test_a_thousand_flipped_bits_are_caught(engine, ids, store, saved):
    context = saved[2]
    files = sorted(context.path.iterdir())
    sizes = [file.stat().st_size for file in files]
    assert len(files) == len(context.segments) + 2
    rng = random.Random(5)
    for number in range(FLIPS):
        # Every file gets its share, then bits anywhere in it: the manifest is small but matters.
        file = rng.choice(files if number % 2 else rng.choices(files, sizes))
        bit = rng.randrange(8 * file.stat().st_size)
        flip(file, bit)
        assert store.verify(context), f"{file.name}, bit {bit}"
        if file.name == "document.json":
            with pytest.raises(JambaError, match=r"document\.json"):
                store.attachment(context, file.name)
        check(engine, ids, store, saved, save=False)
        flip(file, bit)
    assert store.verify(context) == []
    assert check(engine, ids, store, saved).reused == len(ids)


@pytest.mark.parametrize("part", ["rows", "states"])
@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_damaged_segment_is_read_again_from_the_checkpoint_before(
    engine, ids, store, saved, number, part
):
    context = saved[2]
    segment = context.segments[number]
    flip(context.path / segment.file, 8 * (segment.state_offset + (8 if part == "states" else -8)))
    got = check(engine, ids, store, saved)
    if part == "states" and number != -1:
        assert got.reused == len(ids)  # the states of the last checkpoint are those that count
        return
    assert got.reused == segment.start
    assert f"{context.id} is not used: {segment.file}: " in got.notes[0]
    assert "checksum" in got.notes[0]
    assert store.verify(store.contexts()[0]) == []
    healed = check(engine, ids, store, saved)
    assert (healed.reused, healed.notes) == (len(ids), ())


@pytest.mark.parametrize("number", [0, 2, -1])
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "bytes instead of"),
        (lambda path: path.write_bytes(b""), "0 bytes instead of"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes instead of"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "checksum"),
        (lambda path: (path.unlink(), path.mkdir()), "instead of"),
    ],
    ids=["missing", "cut", "empty", "longer", "zeros", "folder"],
)
def test_harm_to_a_segment(engine, ids, store, saved, number, harm, reason):
    context = saved[2]
    segment = context.segments[number]
    harm(context.path / segment.file)
    assert any(reason in problem for problem in store.verify(context))
    got = check(engine, ids, store, saved, save=False)
    assert got.reused == segment.start
    assert any(reason in note for note in got.notes)


def test_a_segment_of_another_document_is_not_taken_for_this_one(engine, ids, store, saved):
    other, _ = read(engine, ids[::-1], store)
    context = saved[2]
    names = {each.file for each in store.get(other.context_id).segments}
    name = context.segments[1].file
    assert name in names
    (context.path / name).write_bytes((store.root / other.context_id / name).read_bytes())
    assert check(engine, ids, store, saved, save=False).reused == context.segments[0].end


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_none(engine, ids, store, saved, data):
    context = saved[2]
    (context.path / "context.json").write_bytes(data)
    assert store.contexts()[0].problem
    got = check(engine, ids, store, saved)
    assert got.reused == 0
    assert got.notes[0].startswith(f"saved context {context.id} is damaged: context.json")
    assert check(engine, ids, store, saved).notes == ()


def test_another_format_is_named_and_left_alone(engine, ids, store, saved, monkeypatch):
    monkeypatch.setattr(manifest, "FORMAT", "jamba-context-2")
    got = check(engine, ids, store, saved, save=False)
    assert got.reused == 0
    assert got.notes == (
        f"saved context {saved[2].id} is of another version of jamba (format 'jamba-context-1', "
        "this one reads 'jamba-context-2'): not used",
    )
    collected = store.collect()
    assert collected.removed == ()
    assert [one.id for one in collected.left] == [saved[2].id]
    assert read(engine, ids[::-1], store, save=False)[0].notes == ()
    monkeypatch.undo()
    assert store.collect().left == ()
    assert check(engine, ids, store, saved).reused == len(ids)


def test_what_is_damaged_elsewhere_is_not_said(engine, ids, store, saved):
    """Neither to other documents, nor to those that share only what is sound."""
    context = saved[2]
    segment = context.segments[2]
    (context.path / segment.file).write_bytes(b"short")
    assert read(engine, ids[::-1], store, save=False)[0].notes == ()
    fork = [*ids[: segment.start], 1, 2, 3]
    got = read(engine, fork, store, save=False)[0]
    assert (got.reused, got.notes) == (segment.start, ())
    got = read(engine, [*ids[: segment.end], 1, 2, 3], store, save=False)[0]
    assert (got.reused, len(got.notes)) == (segment.start, 1)
    assert got.notes[0].startswith(f"saved context {context.id} is damaged: {segment.file} has 5 ")
    (context.path / "context.json").write_bytes(b"{}")
    assert read(engine, ids[::-1], store, save=False)[0].notes == ()


@pytest.mark.parametrize(
    "change",
    [
        {"complete": False},
        {"tokens": 151},
        {"tokens": 20},
        {"segments": []},
        {"segments": [{}]},
        {"identity": {}},
        {"info": 3},
        {"extra": 1},
        {"attachments": [{"file": "../names", "nbytes": 1, "checksum": "0" * 64}]},
    ],
    ids=str,
)
def test_a_sealed_manifest_that_contradicts_itself(engine, ids, store, saved, change):
    from runtime.contexts.hashing import seal, unseal

    path = saved[2].path / "context.json"
    path.write_bytes(seal(unseal(path.read_bytes()) | change))
    assert check(engine, ids, store, saved, save=False).reused == 0
    assert store.contexts()[0].problem


@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_reading_again_heals_a_damaged_attachment(engine, ids, store, saved, harm):
    context = saved[2]
    path = context.path / "document.json"
    data = path.read_bytes()
    if harm == "flip":
        flip(path, 20)
    else:
        path.write_bytes(data[:-1]) if harm == "cut" else path.unlink()
    with pytest.raises(JambaError) as caught:
        store.attachment(context, path.name)
    assert caught.value.hint == "read its sources again"
    read(engine, ids, store, info={"a": 1}, attachments={path.name: data})
    assert store.attachment(context, path.name) == data
    assert store.verify(context) == []


def test_a_harmed_context_does_not_harm_those_that_share_with_it(engine, ids, store, saved):
    read(engine, [*ids[:100], 1, 2, 3], store)
    sibling = store.contexts()[0]
    context = saved[2]
    for segment in context.segments:
        (context.path / segment.file).unlink()
    assert store.verify(sibling) == []
    got = check(engine, ids, store, saved)
    assert got.reused == 96  # from the sibling
    assert store.verify(sibling) == []

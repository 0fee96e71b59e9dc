"""Regions go to a device piece by piece through few slabs, here to one that copies late."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import torch

from runtime.contexts import reader, saved, slabs
from runtime.contexts.layout import Region
from runtime.contexts.slabs import Slabs, pieces
from runtime.contexts.transfer import HostTransfer
from tests.runtime.contexts.reading import read, same_bits

PIECE = 256
SHAPES = [(1,), (7,), (64,), (65,), (1_000,), (3, 5), (3, 64), (5, 100), (4, 30, 8), (2, 3, 2, 50)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(slabs, "PIECE_BYTES", PIECE)


class LateEvent:
    """Says that a copy is done only when it has been made."""

    def __init__(self):
        self.done = threading.Event()
        self.done.set()

    def synchronize(self):
        assert self.done.wait(20)


class LateDevice(HostTransfer):
    """Copies by a thread of its own, in the order in which copies were begun."""

    def __init__(self, count):
        self.memory = torch.full((count * PIECE,), 255, dtype=torch.uint8)
        self.events = []
        self.slabs = Slabs(self.memory, self._event)
        self.begun: queue.Queue = queue.Queue()
        self.copies = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _event(self):
        self.events.append(LateEvent())
        return self.events[-1]

    def land(self, region):
        if region.name in ("ids", "logits"):  # of the host: they are looked at without waiting
            return super().land(region)
        return self.slabs.land(region, self.copy)

    def copy(self, target, host, copied):
        copied.done.clear()
        self.begun.put((target, host, copied))

    def _run(self):
        with torch.inference_mode():
            while True:
                target, host, copied = self.begun.get()
                target.copy_(host)
                host.view(torch.uint8).fill_(255)  # nobody may count on it any more
                self.copies += 1
                copied.done.set()
                self.begun.task_done()

    def finish(self):
        self.begun.join()

    def free(self):
        """How many slabs are free."""
        return self.slabs._free.qsize()


def fill(transfer, region, data, upto=None, limit=PIECE):
    """Lands bytes; stops after so many, as a file that is cut does."""
    done = 0
    with closing(transfer.land(region)) as views:
        for view in views:
            assert len(view) <= limit
            if upto is not None and done + len(view) > upto:
                raise EOFError
            view[:] = data[done : done + len(view)]
            done += len(view)
    assert done == len(data)


def harmed(segment, data, part, *, last):
    """A file with another bit in what counts of it, and one that is cut."""
    place = int(part * (segment.nbytes if last else segment.state_offset))
    yield data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    yield data[:place]


def random_bytes(region, seed=0):
    numbers = torch.randn(region.shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(region.dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("strided", [False, True])
def test_pieces_are_the_region_in_its_order(shape, dtype, strided):
    whole = torch.empty(*shape[:-2], sum(shape[-2:-1]) + 3, shape[-1], dtype=dtype)
    tensor = whole[..., 1:-2, :] if strided and len(shape) > 1 else torch.empty(shape, dtype=dtype)
    region = Region("0.k", tensor, torch.float32)
    numbers = torch.arange(tensor.numel()).view(shape).to(dtype)
    tensor.copy_(numbers)
    parts = list(pieces(region))
    assert torch.equal(torch.cat([part.flatten() for part in parts]), numbers.flatten())
    assert all(part.numel() * 4 <= PIECE for part in parts)
    assert all(part.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
               for part in parts)  # fmt: skip


def test_a_head_that_fits_is_one_piece_that_lies_together():
    cache = torch.empty(3, 50, 8)
    region = Region("0.k", cache[:, 10:17], torch.float32)  # 224 bytes a head
    parts = list(pieces(region))
    assert [tuple(part.shape) for part in parts] == [(1, 7, 8)] * 3
    assert all(part.is_contiguous() for part in parts)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_is_landed_is_there(shape, count):
    device = LateDevice(count)
    target = torch.zeros(*shape, 2, dtype=torch.bfloat16)[..., 0]  # has gaps
    region = Region("0.conv", target, torch.float32)
    wanted = random_bytes(region)
    fill(device, region, wanted.numpy().tobytes())
    device.finish()
    assert torch.equal(target, wanted.bfloat16())
    assert device.free() == count


@pytest.mark.parametrize("count", [1, 3])
def test_more_threads_than_slabs(count):
    device = LateDevice(count)
    regions = [Region(f"{i}.k", torch.zeros(3, 40 + i, 8), torch.float32)
               for i in range(8)]  # fmt: skip
    wanted = [random_bytes(region, seed) for seed, region in enumerate(regions)]
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(fill, device, region, numbers.numpy().tobytes())
            for region, numbers in zip(regions, wanted, strict=True)
        ]
        for job in jobs:
            job.result(timeout=20)
    device.finish()
    assert all(torch.equal(r.tensor, w) for r, w in zip(regions, wanted, strict=True))
    assert device.free() == count


def test_a_slab_comes_back_from_what_is_given_up():
    device = LateDevice(2)
    region = Region("0.k", torch.zeros(3, 200), torch.float32)
    data = random_bytes(region).numpy().tobytes()
    for upto in range(0, 2_000, 190):
        with pytest.raises(EOFError):
            fill(device, region, data, upto)
        assert device.free() == 2
    fill(device, region, data)
    device.finish()
    assert device.free() == 2


@pytest.fixture
def late(monkeypatch):
    device = LateDevice(2)
    monkeypatch.setattr(saved, "transfer_for", lambda _: device)
    return device


def test_a_context_is_restored_through_slabs(engine, ids, store, late):
    first, cache = read(engine, ids, store)
    again, restored = read(engine, ids, store)
    assert again.reused == len(ids)
    assert late.copies > 20
    assert torch.equal(again.logits, first.logits)
    assert same_bits(cache, restored)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("number", [0, 2, -1])
def test_damage_leaves_the_cache_empty_and_the_slabs_free(engine, ids, store, late, number, part):
    read(engine, ids, store)
    (context,) = store.contexts()
    (match,) = store.lookup(context.identity, ids).matches[:1]
    segment = context.segments[number]
    path = context.path / segment.file
    for harm in harmed(segment, path.read_bytes(), part, last=number == -1):
        path.write_bytes(harm)
        cache = engine.new_cache(len(ids))
        logits = torch.empty(engine.config.vocab_size)
        with pytest.raises(reader.SegmentError, match=path.name):
            reader.restore(match, ids, cache, late, logits)
        assert cache.position == 0
        assert not any(state.ssm.any() or state.conv.any() for state in cache.mamba_states)
        assert late.free() == 2
